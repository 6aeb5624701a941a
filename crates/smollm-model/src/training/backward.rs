//! One block backward.
//!
//! ```text
//! da = dh Down,  (dg, du) = swiglu'(g, u) da,  dm = (dg | du) (Gate | Up),  dh += rms_norm'(middle) dm
//! dO = dh O,  (dq, dk, dv) = attention'(q, k, v) dO,  dn = (dq | dk | dv) (Q | K | V),  dh += rms_norm'(h) dn
//! ```
//! Where outputs are scaled by a magnitude, their gradients are first turned into those of what is scaled
//! ([`super::magnitude`]).

use cpu_gemm::Operand;

use super::forward::Saved;
use super::low_rank::SiteScratch;
use super::products::multiply_back;
use super::rows::{add_norm_gradient, normalise, swiglu, swiglu_gradient};
use super::{Pass, SiteGradients, Stage, attention};
use crate::Projection;
use crate::buffer::grow;
use crate::ops::RopeTable;

/// Buffers that blocks share.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// Inputs of adapters, formed again.
    x: Vec<f32>,
    /// Gradient of the input of a product.
    dx: Vec<f32>,
    /// Gradient of the activation.
    da: Vec<f32>,
    d_gate_up: Vec<f32>,
    d_attended: Vec<f32>,
    d_qkv: Vec<f32>,
    /// Gradient of what a magnitude scales, `[tokens, hidden]`.
    dz: Vec<f32>,
    operand: Operand,
    site: SiteScratch,
}

impl Scratch {
    /// Room for an adapter's backward pass.
    pub(super) fn site(&mut self) -> &mut SiteScratch {
        &mut self.site
    }
}

/// What an adapter's backward pass takes beside gradients: its input and what was kept.
struct Block<'a> {
    layer: usize,
    saved: &'a Saved,
}

impl Pass<'_> {
    /// Turns `dh`, the gradient of the block's output, into that of its input, and adds the adapters' gradients. With
    /// `until`, nothing before that part has an adapter, and `dh` is left unfinished.
    pub(super) fn backward_block(
        &self,
        layer: usize,
        (h, saved): (&[f32], &Saved),
        dh: &mut [f32],
        until: Option<Stage>,
        scratch: &mut Scratch,
        gradients: &mut [SiteGradients],
    ) {
        let block = Block { layer, saved };
        let ends_at = |stage: Stage| until == Some(stage);
        self.down(&block, dh, ends_at(Stage::Down), scratch, gradients);
        if ends_at(Stage::Down) {
            return;
        }
        self.gate_up(&block, dh, ends_at(Stage::GateUp), scratch, gradients);
        if ends_at(Stage::GateUp) {
            return;
        }
        self.output(&block, dh, ends_at(Stage::O), scratch, gradients);
        if ends_at(Stage::O) {
            return;
        }
        self.qkv(&block, h, dh, ends_at(Stage::Qkv), scratch, gradients);
    }

    fn has(&self, layer: usize, parts: &[(Projection, usize)]) -> bool {
        parts
            .iter()
            .any(|(p, _)| self.sites.get(layer, *p).is_some())
    }

    /// The adapters of projections that have one input `x`; the gradient of each one's output starts at its column of
    /// `dy`, whose rows are `stride` apart.
    #[allow(
        clippy::too_many_arguments,
        reason = "buffers, each borrowed from another place"
    )]
    fn adapters(
        &self,
        block: &Block<'_>,
        parts: &[(Projection, usize)],
        x: &[f32],
        (dy, stride): (&[f32], usize),
        mut dx: Option<&mut [f32]>,
        scratch: &mut SiteScratch,
        gradients: &mut [SiteGradients],
    ) {
        for (projection, column) in parts {
            if let Some(site) = self.sites.get(block.layer, *projection) {
                let saved = &block.saved.sites[*projection as usize];
                let dy = (&dy[*column..], stride);
                site.backward(x, dy, dx.as_deref_mut(), saved, scratch, gradients);
            }
        }
    }

    /// Turns the gradients of outputs, each at its column of `dy`, into those of what magnitudes scale.
    fn unscale(
        &self,
        block: &Block<'_>,
        parts: &[(Projection, usize)],
        (dy, stride): (&mut [f32], usize),
        gradients: &mut [SiteGradients],
    ) {
        for (projection, column) in parts {
            if let Some(site) = self.sites.get(block.layer, *projection) {
                let saved = &block.saved.sites[*projection as usize];
                site.scale_gradient((&mut dy[*column..], stride), saved, gradients);
            }
        }
    }

    /// The same for a projection whose output is added to the residual stream: `dh` itself without a magnitude.
    fn unscaled<'a>(
        &self,
        block: &Block<'_>,
        projection: Projection,
        dh: &'a [f32],
        room: &'a mut Vec<f32>,
        gradients: &mut [SiteGradients],
    ) -> &'a [f32] {
        let site = self.sites.get(block.layer, projection);
        if site.is_none_or(|site| site.magnitude.is_none()) {
            return dh;
        }
        let dz = grow(room, dh.len());
        dz.copy_from_slice(dh);
        let dy = (&mut *dz, self.config.hidden_size);
        self.unscale(block, &[(projection, 0)], dy, gradients);
        dz
    }

    /// `da` from `dh`.
    fn down(
        &self,
        block: &Block<'_>,
        dh: &[f32],
        last: bool,
        scratch: &mut Scratch,
        gradients: &mut [SiteGradients],
    ) {
        let (tokens, hidden, ffn) = (
            self.tokens(),
            self.config.hidden_size,
            self.config.intermediate_size,
        );
        let da = grow(&mut scratch.da, tokens * ffn);
        let dz = self.unscaled(block, Projection::Down, dh, &mut scratch.dz, gradients);
        if !last {
            let weights = &self.weights.layers[block.layer];
            multiply_back(&weights.down, dz, &mut scratch.operand, da);
        }
        if let Some(site) = self.sites.get(block.layer, Projection::Down) {
            let activated = grow(&mut scratch.x, tokens * ffn);
            let rounded = self.weights.rounded;
            let gate_up = block.saved.gate_up(rounded, tokens * 2 * ffn);
            swiglu(gate_up, ffn, activated);
            site.backward(
                activated,
                (dz, hidden),
                (!last).then_some(da),
                &block.saved.sites[Projection::Down as usize],
                &mut scratch.site,
                gradients,
            );
        }
    }

    /// Adds to `dh` what comes through the feed-forward part.
    fn gate_up(
        &self,
        block: &Block<'_>,
        dh: &mut [f32],
        last: bool,
        scratch: &mut Scratch,
        gradients: &mut [SiteGradients],
    ) {
        let (tokens, config) = (self.tokens(), self.config);
        let (hidden, ffn) = (config.hidden_size, config.intermediate_size);
        let weights = &self.weights.layers[block.layer];
        let (norm, eps) = (
            &weights.post_attention_layernorm,
            config.rms_norm_eps as f32,
        );
        let middle = &block.saved.middle[..tokens * hidden];
        let d_gate_up = grow(&mut scratch.d_gate_up, tokens * 2 * ffn);
        let da = &scratch.da[..tokens * ffn];
        let rounded = self.weights.rounded;
        let gate_up = block.saved.gate_up(rounded, tokens * 2 * ffn);
        swiglu_gradient(gate_up, da, ffn, d_gate_up);
        let parts = [(Projection::Gate, 0), (Projection::Up, ffn)];
        self.unscale(block, &parts, (&mut *d_gate_up, 2 * ffn), gradients);
        let dx = grow(&mut scratch.dx, tokens * hidden);
        if !last {
            multiply_back(&weights.gate_up, d_gate_up, &mut scratch.operand, dx);
        }
        if self.has(block.layer, &parts) {
            let x = grow(&mut scratch.x, tokens * hidden);
            normalise(middle, norm, eps, x);
            let dx = (!last).then_some(&mut *dx);
            let dy = (&*d_gate_up, 2 * ffn);
            self.adapters(block, &parts, x, dy, dx, &mut scratch.site, gradients);
        }
        if !last {
            add_norm_gradient(middle, norm, eps, dx, dh);
        }
    }

    /// The gradient of attention's output from `dh`.
    fn output(
        &self,
        block: &Block<'_>,
        dh: &[f32],
        last: bool,
        scratch: &mut Scratch,
        gradients: &mut [SiteGradients],
    ) {
        let values = self.tokens() * self.config.query_width();
        let d_attended = grow(&mut scratch.d_attended, values);
        let dz = self.unscaled(block, Projection::O, dh, &mut scratch.dz, gradients);
        if !last {
            let weights = &self.weights.layers[block.layer];
            multiply_back(&weights.o, dz, &mut scratch.operand, d_attended);
        }
        if let Some(site) = self.sites.get(block.layer, Projection::O) {
            site.backward(
                &block.saved.attended[..values],
                (dz, self.config.hidden_size),
                (!last).then_some(d_attended),
                &block.saved.sites[Projection::O as usize],
                &mut scratch.site,
                gradients,
            );
        }
    }

    /// Adds to `dh` what comes through attention.
    fn qkv(
        &self,
        block: &Block<'_>,
        h: &[f32],
        dh: &mut [f32],
        last: bool,
        scratch: &mut Scratch,
        gradients: &mut [SiteGradients],
    ) {
        let (tokens, config) = (self.tokens(), self.config);
        let (hidden, query, key_value) = (
            config.hidden_size,
            config.query_width(),
            config.key_value_width(),
        );
        let width = query + 2 * key_value;
        let weights = &self.weights.layers[block.layer];
        let (norm, eps) = (&weights.input_layernorm, config.rms_norm_eps as f32);
        let saved = block.saved;
        let d_qkv = grow(&mut scratch.d_qkv, tokens * width);
        attention::backward(
            self,
            &attention::Seen {
                qkv: &saved.qkv[..tokens * width],
                out: &saved.attended[..tokens * query],
                lse: &saved.lse[..tokens * config.num_attention_heads],
                dout: &scratch.d_attended[..tokens * query],
            },
            d_qkv,
        );
        self.rotate(d_qkv, RopeTable::rotate_row_back);
        let parts = [
            (Projection::Q, 0),
            (Projection::K, query),
            (Projection::V, query + key_value),
        ];
        self.unscale(block, &parts, (&mut *d_qkv, width), gradients);
        let dx = grow(&mut scratch.dx, tokens * hidden);
        if !last {
            multiply_back(&weights.qkv, d_qkv, &mut scratch.operand, dx);
        }
        if self.has(block.layer, &parts) {
            let x = grow(&mut scratch.x, tokens * hidden);
            normalise(h, norm, eps, x);
            let dx = (!last).then_some(&mut *dx);
            let dy = (&*d_qkv, width);
            self.adapters(block, &parts, x, dy, dx, &mut scratch.site, gradients);
        }
        if !last {
            add_norm_gradient(h, norm, eps, dx, dh);
        }
    }
}
