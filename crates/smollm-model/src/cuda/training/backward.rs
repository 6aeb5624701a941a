//! One block backward on the device. Formulas: `training/backward.rs`.

use super::Buffers;
use super::adapters::Adapters;
use super::forward::{Stream, qkv_parts};
use super::pass::{Norm, Pass};
use crate::cuda::args::{
    AttentionBackward, AttentionDelta, AttentionKeys, AttentionQueries, RmsNormBackward,
    SwiGluBackward,
};
use crate::cuda::low_rank::Rows;
use crate::cuda::room::Room;
use crate::cuda::{KernelError, Machine};
use crate::training::Stage;
use crate::{Checkpointing, Projection};

/// Buffers that blocks share.
pub(super) struct Backward<'m> {
    /// Gradient of the activation, `[tokens, intermediate]`.
    da: Room<'m>,
    /// Gradient of a normed input, `[tokens, hidden]`.
    dx: Room<'m>,
    /// `[tokens, query width]`
    d_attended: Room<'m>,
    /// `[tokens, q | k | v]`
    d_qkv: Room<'m>,
    /// Products of attention's output with its gradient, `[query heads, tokens]`, f32.
    delta: Room<'m>,
}

impl<'m> Backward<'m> {
    pub(super) fn new(machine: &'m dyn Machine) -> Self {
        let room = || Room::new(machine);
        Self {
            da: room(),
            dx: room(),
            d_attended: room(),
            d_qkv: room(),
            delta: room(),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        let rooms = [
            &self.da,
            &self.dx,
            &self.d_attended,
            &self.d_qkv,
            &self.delta,
        ];
        rooms.map(Room::bytes).iter().sum()
    }
}

/// A block's place in the walk back.
#[derive(Clone, Copy)]
struct Place {
    layer: usize,
    /// The block's input.
    h: u64,
    /// Gradient of its output, which becomes that of its input.
    dh: u64,
}

impl Buffers<'_> {
    /// Walks back from `dh` to the lowest adapter.
    pub(super) fn backward(
        &mut self,
        pass: &Pass<'_, '_>,
        dh: u64,
        lowest: (usize, Stage),
    ) -> Result<(), KernelError> {
        for layer in (lowest.0..pass.weights.layers.len()).rev() {
            let h = self.blocks[layer].of(pass.rows(pass.config.hidden_size))?;
            if pass.checkpointing == Checkpointing::Block {
                self.forward_block(pass, layer, Stream { x: h, delta: 0 }, false)?;
            }
            let until = (layer == lowest.0).then_some(lowest.1);
            self.backward_block(pass, Place { layer, h, dh }, until)?;
        }
        Ok(())
    }

    fn backward_block(
        &mut self,
        pass: &Pass<'_, '_>,
        at: Place,
        until: Option<Stage>,
    ) -> Result<(), KernelError> {
        let ends_at = |stage: Stage| until == Some(stage);
        self.down(pass, at, ends_at(Stage::Down))?;
        if ends_at(Stage::Down) {
            return Ok(());
        }
        self.gate_up(pass, at, ends_at(Stage::GateUp))?;
        if ends_at(Stage::GateUp) {
            return Ok(());
        }
        self.output(pass, at, ends_at(Stage::O))?;
        if ends_at(Stage::O) {
            return Ok(());
        }
        self.qkv(pass, at, ends_at(Stage::Qkv))
    }

    /// The gradient of the activation from `dh`.
    fn down(&mut self, pass: &Pass<'_, '_>, at: Place, last: bool) -> Result<(), KernelError> {
        let (hidden, ffn) = (pass.config.hidden_size, pass.config.intermediate_size);
        let da = self.backward.da.of(pass.rows(ffn))?;
        let block = &pass.weights.layers[at.layer];
        if !last {
            pass.multiply_back((at.dh, block.down.address(), da), (hidden, ffn))?;
        }
        if let Some(site) = pass.sites.get(at.layer, Projection::Down) {
            let saved = &mut self.saved[Self::kept(pass, at.layer)];
            let gate_up = saved.gate_up.of(pass.rows(2 * ffn))?;
            let activated = self.forward.activated.of(pass.rows(ffn))?;
            pass.activate(gate_up, activated)?;
            let size = (pass.element, pass.tokens());
            let dy = Rows {
                address: at.dh,
                stride: hidden,
            };
            let dx = (!last).then_some(da);
            self.adapters
                .backward((&pass.sites, site), size, activated, dy, dx)?;
        }
        Ok(())
    }

    /// Adds to `dh` what comes through the feed-forward part.
    fn gate_up(&mut self, pass: &Pass<'_, '_>, at: Place, last: bool) -> Result<(), KernelError> {
        let (hidden, ffn) = (pass.config.hidden_size, pass.config.intermediate_size);
        let block = &pass.weights.layers[at.layer];
        let saved = &mut self.saved[Self::kept(pass, at.layer)];
        let gate_up = saved.gate_up.of(pass.rows(2 * ffn))?;
        let up = pass.after(gate_up, ffn);
        pass.start(&SwiGluBackward {
            gate: gate_up,
            up,
            dy: self.backward.da.of(pass.rows(ffn))?,
            dgate: gate_up,
            dup: up,
            rows: pass.tokens() as u32,
            width: ffn as u32,
            in_stride: 2 * ffn as u32,
            out_stride: ffn as u32,
        })?;
        let dx = self.backward.dx.of(pass.rows(hidden))?;
        if !last {
            let matrices = (gate_up, block.gate_up.address(), dx);
            pass.multiply_back(matrices, (2 * ffn, hidden))?;
        }
        let middle = saved.middle.of(pass.rows(hidden))?;
        let norm = Norm {
            x: middle,
            delta: 0,
            sum: 0,
            weight: block.post_attention_layernorm.address(),
            y: self.forward.normed.of(pass.rows(hidden))?,
            rms: saved.rms[1].of(pass.statistics(1))?,
        };
        let parts = [(Projection::Gate, 0), (Projection::Up, ffn)];
        let dy = Rows {
            address: gate_up,
            stride: 2 * ffn,
        };
        let to = (!last).then_some(dx);
        normed_parts(pass, &mut self.adapters, at.layer, &parts, &norm, dy, to)?;
        if last {
            return Ok(());
        }
        pass.norm_back(pass.tokens(), &norm, dx, at.dh, at.dh)
    }

    /// The gradient of attention's output from `dh`.
    fn output(&mut self, pass: &Pass<'_, '_>, at: Place, last: bool) -> Result<(), KernelError> {
        let (hidden, query) = (pass.config.hidden_size, pass.config.query_width());
        let block = &pass.weights.layers[at.layer];
        let d_attended = self.backward.d_attended.of(pass.rows(query))?;
        if !last {
            let matrices = (at.dh, block.o.address(), d_attended);
            pass.multiply_back(matrices, (hidden, query))?;
        }
        if let Some(site) = pass.sites.get(at.layer, Projection::O) {
            let saved = &mut self.saved[Self::kept(pass, at.layer)];
            let attended = saved.attended.of(pass.rows(query))?;
            let size = (pass.element, pass.tokens());
            let dy = Rows {
                address: at.dh,
                stride: hidden,
            };
            let dx = (!last).then_some(d_attended);
            self.adapters
                .backward((&pass.sites, site), size, attended, dy, dx)?;
        }
        Ok(())
    }

    /// Adds to `dh` what comes through attention.
    fn qkv(&mut self, pass: &Pass<'_, '_>, at: Place, last: bool) -> Result<(), KernelError> {
        let (hidden, width) = (pass.config.hidden_size, pass.qkv_width());
        let block = &pass.weights.layers[at.layer];
        let d_qkv = self.attention(pass, at)?;
        pass.rotate(d_qkv, -1.0)?;
        let dx = self.backward.dx.of(pass.rows(hidden))?;
        if !last {
            pass.multiply_back((d_qkv, block.qkv.address(), dx), (width, hidden))?;
        }
        let saved = &mut self.saved[Self::kept(pass, at.layer)];
        let norm = Norm {
            x: at.h,
            delta: 0,
            sum: 0,
            weight: block.input_layernorm.address(),
            y: self.forward.normed.of(pass.rows(hidden))?,
            rms: saved.rms[0].of(pass.statistics(1))?,
        };
        let dy = Rows {
            address: d_qkv,
            stride: width,
        };
        let to = (!last).then_some(dx);
        let parts = qkv_parts(pass);
        normed_parts(pass, &mut self.adapters, at.layer, &parts, &norm, dy, to)?;
        if last {
            return Ok(());
        }
        pass.norm_back(pass.tokens(), &norm, dx, at.dh, at.dh)
    }

    /// Gradients of rotated queries and keys, and of values.
    fn attention(&mut self, pass: &Pass<'_, '_>, at: Place) -> Result<u64, KernelError> {
        let (query, key_value) = (pass.config.query_width(), pass.config.key_value_width());
        let (width, heads) = (pass.qkv_width(), pass.config.num_attention_heads);
        let saved = &mut self.saved[Self::kept(pass, at.layer)];
        let dout = self.backward.d_attended.of(pass.rows(query))?;
        let delta = self.backward.delta.of(pass.statistics(heads))?;
        let d_qkv = self.backward.d_qkv.of(pass.rows(width))?;
        let qkv = saved.qkv.of(pass.rows(width))?;
        pass.start(&AttentionDelta {
            out: saved.attended.of(pass.rows(query))?,
            dout,
            delta,
            heads: heads as u32,
            tokens: pass.tokens() as u32,
            stride: query as u32,
        })?;
        let args = AttentionBackward {
            q: qkv,
            k: pass.after(qkv, query),
            v: pass.after(qkv, query + key_value),
            dout,
            lse: saved.lse.of(pass.statistics(heads))?,
            delta,
            dq: d_qkv,
            dk: pass.after(d_qkv, query),
            dv: pass.after(d_qkv, query + key_value),
            tiles: pass.batch.backward_tiles.address,
            heads: pass.heads(),
            tile_count: pass.batch.backward_tiles.count,
            tokens: pass.tokens() as u32,
            q_stride: width as u32,
            kv_stride: width as u32,
            dout_stride: query as u32,
            dq_stride: width as u32,
            dkv_stride: width as u32,
        };
        pass.start(&AttentionKeys(args))?;
        pass.start(&AttentionQueries(args))?;
        Ok(d_qkv)
    }
}

/// The adapters of projections whose input is a norm, which is formed again; the gradient of each one's output starts at
/// its column of `dy`.
fn normed_parts(
    pass: &Pass<'_, '_>,
    adapters: &mut Adapters<'_>,
    layer: usize,
    parts: &[(Projection, usize)],
    norm: &Norm,
    dy: Rows,
    dx: Option<u64>,
) -> Result<(), KernelError> {
    let mut formed = false;
    for (projection, column) in parts {
        let Some(site) = pass.sites.get(layer, *projection) else {
            continue;
        };
        if !std::mem::replace(&mut formed, true) {
            pass.norm(pass.tokens(), norm)?;
        }
        let dy = Rows {
            address: pass.after(dy.address, *column),
            ..dy
        };
        let size = (pass.element, pass.tokens());
        adapters.backward((&pass.sites, site), size, norm.y, dy, dx)?;
    }
    Ok(())
}

impl Pass<'_, '_> {
    /// `dh = dres + norm'(x) dy`; `dres` may be absent (0) or `dh` itself.
    pub(super) fn norm_back(
        &self,
        rows: usize,
        norm: &Norm,
        dy: u64,
        dres: u64,
        dh: u64,
    ) -> Result<(), KernelError> {
        self.start(&RmsNormBackward {
            h: norm.x,
            weight: norm.weight,
            dy,
            dres,
            rms: norm.rms,
            dh,
            rows: rows as u32,
            width: self.config.hidden_size as u32,
        })
    }
}
