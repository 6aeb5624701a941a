//! PEFT's tensor names.

use smollm_model::{Projection, Site};

/// Which of an update's tensors: the two factors, and DoRA's magnitude.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Factor {
    /// `A`, `[r, in]`.
    A,
    /// `B`, `[out, r]`.
    B,
    /// `m`, `[out]`: what multiplies the rows of `W + scale · B A`, each divided by its norm.
    Magnitude,
}

impl Factor {
    /// All three, in the order of their names.
    pub const ALL: [Self; 3] = [Self::A, Self::B, Self::Magnitude];

    /// The end of the tensor's name in PEFT's file. The factors of an embedding are parameters there, not modules.
    fn ending(self, site: Site) -> &'static str {
        match (self, site) {
            (Self::A, Site::Embedding) => "lora_embedding_A",
            (Self::B, Site::Embedding) => "lora_embedding_B",
            (Self::A, _) => "lora_A.weight",
            (Self::B, _) => "lora_B.weight",
            (Self::Magnitude, _) => "lora_magnitude_vector",
        }
    }

    /// PEFT's name of this factor's tensor at a site.
    ///
    /// ```
    /// use lora::{Factor, Site};
    /// use smollm_model::Projection;
    ///
    /// let name = Factor::A.tensor_name(Site::new(3, Projection::Q));
    /// assert_eq!(name, "base_model.model.model.layers.3.self_attn.q_proj.lora_A.weight");
    /// let name = Factor::B.tensor_name(Site::Embedding);
    /// assert_eq!(name, "base_model.model.model.embed_tokens.lora_embedding_B");
    /// ```
    pub fn tensor_name(self, site: Site) -> String {
        format!("{PREFIX}{}.{}", site.path(), self.ending(site))
    }

    /// The site and factor of a tensor's name, or nothing if the name is none of ours.
    ///
    /// The infix `.default` (the adapter's name inside a running PEFT model, which some tools leave
    /// in) is accepted, as is the `.weight` that a magnitude has there.
    pub fn parse(name: &str) -> Option<(Site, Self)> {
        let (path, rest) = name.strip_prefix(PREFIX)?.split_once(".lora_")?;
        let site = site(path)?;
        let factor = match (rest, site) {
            ("embedding_A" | "embedding_A.default", Site::Embedding) => Self::A,
            ("embedding_B" | "embedding_B.default", Site::Embedding) => Self::B,
            (_, Site::Embedding) => return None,
            ("A.weight" | "A.default.weight", _) => Self::A,
            ("B.weight" | "B.default.weight", _) => Self::B,
            (
                "magnitude_vector"
                | "magnitude_vector.weight"
                | "magnitude_vector.default"
                | "magnitude_vector.default.weight",
                _,
            ) => Self::Magnitude,
            _ => return None,
        };
        Some((site, factor))
    }
}

/// What PEFT puts before a module's path.
const PREFIX: &str = "base_model.model.";

/// The name under which PEFT saves the base's weight of a site beside its factors.
pub(crate) fn saved_base_name(site: Site) -> String {
    format!("{PREFIX}{}.base_layer.weight", site.path())
}

/// The site of a base weight that PEFT saves beside the factors of embeddings and heads, by the tensor's name.
pub(crate) fn saved_base(name: &str) -> Option<Site> {
    let path = name.strip_prefix(PREFIX)?;
    match site(path.strip_suffix(".base_layer.weight")?)? {
        Site::Block { .. } => None,
        site => Some(site),
    }
}

/// The site of a module's path.
fn site(path: &str) -> Option<Site> {
    if let Some(site) = [Site::Embedding, Site::Head]
        .into_iter()
        .find(|site| site.path() == path)
    {
        return Some(site);
    }
    let (layer, path) = path.strip_prefix("model.layers.")?.split_once('.')?;
    let plain =
        layer.bytes().all(|b| b.is_ascii_digit()) && (layer == "0" || !layer.starts_with('0'));
    let layer = plain.then(|| layer.parse().ok())??;
    let projection = Projection::ALL.into_iter().find(|p| p.path() == path)?;
    Some(Site::new(layer, projection))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for site in Site::all(12) {
            for factor in Factor::ALL {
                let name = factor.tensor_name(site);
                if site == Site::Embedding && factor == Factor::Magnitude {
                    assert_eq!(Factor::parse(&name), None);
                    continue;
                }
                assert_eq!(Factor::parse(&name), Some((site, factor)));
                let live = match name.strip_suffix(".weight") {
                    Some(start) => format!("{start}.default.weight"),
                    None => format!("{name}.default"),
                };
                assert_eq!(Factor::parse(&live), Some((site, factor)));
            }
        }
    }

    #[test]
    fn strangers_are_not_parsed() {
        let base = "base_model.model.";
        for tail in [
            "model.layers.03.self_attn.q_proj.lora_A.weight",
            "model.layers.+3.self_attn.q_proj.lora_A.weight",
            "model.layers.3.self_attn.q_proj.lora_C.weight",
            "model.layers.3.self_attn.q_proj.lora_A.bias",
            "model.layers.3.self_attn.q_proj.lora_magnitude_vector.bias",
            "model.layers.3.self_attn.q_proj.lora_embedding_A",
            "model.layers.3.self_attn.gate_proj.lora_A.weight",
            "model.layers.3.mlp.lora_A.weight",
            "model.layers..self_attn.q_proj.lora_A.weight",
            "model.embed_tokens.lora_A.weight",
            "model.embed_tokens.lora_embedding_A.weight",
            "embed_tokens.lora_embedding_A",
            "model.lm_head.lora_A.weight",
            "lm_head.lora_embedding_A",
        ] {
            assert_eq!(Factor::parse(&format!("{base}{tail}")), None, "{tail}");
        }
        assert_eq!(
            Factor::parse("model.layers.0.self_attn.q_proj.weight"),
            None
        );
    }

    #[test]
    fn saved_bases_are_those_of_the_vocabulary() {
        let of = |tail: &str| saved_base(&format!("base_model.model.{tail}"));
        assert_eq!(of("lm_head.base_layer.weight"), Some(Site::Head));
        assert_eq!(
            of("model.embed_tokens.base_layer.weight"),
            Some(Site::Embedding)
        );
        assert_eq!(
            of("model.layers.0.self_attn.q_proj.base_layer.weight"),
            None
        );
        assert_eq!(of("model.embed_tokens.weight"), None);
    }
}
