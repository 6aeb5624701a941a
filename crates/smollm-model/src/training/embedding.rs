//! The embedding with an adapter beside it: columns of `A` by token. Formula: `h_t = E[id_t] + s · B A[:, id_t]`.
//!
//! ```text
//! U_t = A[:, id_t],       H += s · U Bᵀ
//! dU = s · dH B,          dA[:, id_t] += dU_t,     dB += s · dHᵀ U
//! ```
//! Tokens are taken in their order where several have one id, whatever the number of threads. The column of the model's
//! padding token gets no gradient: transformers makes it the embedding's `padding_idx`, and PEFT follows.

use super::SiteGradients;
use super::low_rank::{Combine, LowRankSite, SiteScratch};
use super::rows::add_row;
use crate::buffer::grow;
use crate::simd::dispatch;

impl LowRankSite<'_> {
    /// `row += s · B A[:, id]`; `part` is room for one row.
    pub(super) fn add_embedding(&self, id: u32, row: &mut [f32], part: &mut Vec<f32>) {
        let column: Vec<f32> = self.column(id).collect();
        let part = grow(part, row.len());
        dispatch(Combine {
            factors: &column,
            rows: &self.b,
            sum: &mut *part,
        });
        add_row(part, row);
    }

    /// Adds the gradients of `A` and `B` from `dh: [tokens, out]`, the gradient of the embeddings of `ids`.
    pub(super) fn embedding_backward(
        &self,
        (ids, padding): (&[u32], Option<u32>),
        dh: &[f32],
        scratch: &mut SiteScratch,
        gradients: &mut [SiteGradients],
    ) {
        let gradients = &mut gradients[self.index];
        let du = grow(&mut scratch.du, ids.len() * self.rank);
        self.inner_gradient((dh, self.outputs), du);
        let columns = ids.iter().zip(du.chunks_exact(self.rank));
        for (id, du) in columns.filter(|(id, _)| Some(**id) != padding) {
            let column = gradients.a.iter_mut().skip(*id as usize);
            for (a, du) in column.step_by(self.inputs).zip(du) {
                *a += du;
            }
        }
        let u = grow(&mut scratch.dropped, ids.len() * self.rank);
        for (id, u) in ids.iter().zip(u.chunks_exact_mut(self.rank)) {
            for (u, a) in u.iter_mut().zip(self.column(*id)) {
                *u = a;
            }
        }
        self.add_b_gradient(u, (dh, self.outputs), &mut scratch.sums, &mut gradients.b);
    }

    /// `A[:, id]`
    fn column(&self, id: u32) -> impl Iterator<Item = f32> {
        let column = self.a.iter().skip(id as usize).step_by(self.inputs);
        column.copied()
    }
}
