//! PEFT's tensor names.

use smollm_model::Projection;

/// One place in a model that can carry an adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Site {
    /// The layer, from 0.
    pub layer: usize,
    /// The projection in that layer.
    pub projection: Projection,
}

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

    /// The end of the tensor's name in PEFT's file.
    fn ending(self) -> &'static str {
        match self {
            Self::A => "lora_A.weight",
            Self::B => "lora_B.weight",
            Self::Magnitude => "lora_magnitude_vector",
        }
    }
}

impl Site {
    /// The site of a projection in a layer.
    pub fn new(layer: usize, projection: Projection) -> Self {
        Self { layer, projection }
    }

    /// The module's path in the base model, by which PEFT selects it.
    ///
    /// ```
    /// let site = lora::Site::new(3, smollm_model::Projection::Q);
    /// assert_eq!(site.path(), "model.layers.3.self_attn.q_proj");
    /// ```
    pub fn path(self) -> String {
        format!("model.layers.{}.{}", self.layer, self.projection.path())
    }

    /// PEFT's name of a factor's tensor.
    ///
    /// ```
    /// use lora::{Factor, Site};
    /// use smollm_model::Projection;
    ///
    /// let name = Site::new(3, Projection::Q).tensor_name(Factor::A);
    /// assert_eq!(name, "base_model.model.model.layers.3.self_attn.q_proj.lora_A.weight");
    /// ```
    pub fn tensor_name(self, factor: Factor) -> String {
        format!("base_model.model.{}.{}", self.path(), factor.ending())
    }

    /// The site and factor of a tensor's name, or nothing if the name is none of ours.
    ///
    /// The infix `.default` (the adapter's name inside a running PEFT model, which some tools leave
    /// in) is accepted, as is the `.weight` that a magnitude has there.
    pub fn parse(name: &str) -> Option<(Self, Factor)> {
        let rest = name.strip_prefix("base_model.model.model.layers.")?;
        let (layer, rest) = rest.split_once('.')?;
        let (path, rest) = rest.split_once(".lora_")?;
        let factor = match rest {
            "A.weight" | "A.default.weight" => Factor::A,
            "B.weight" | "B.default.weight" => Factor::B,
            "magnitude_vector"
            | "magnitude_vector.weight"
            | "magnitude_vector.default"
            | "magnitude_vector.default.weight" => Factor::Magnitude,
            _ => return None,
        };
        let plain =
            layer.bytes().all(|b| b.is_ascii_digit()) && (layer == "0" || !layer.starts_with('0'));
        let layer = plain.then(|| layer.parse().ok())??;
        let projection = Projection::ALL.into_iter().find(|p| p.path() == path)?;
        Some((Self::new(layer, projection), factor))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for projection in Projection::ALL {
            for factor in Factor::ALL {
                let site = Site::new(11, projection);
                let name = site.tensor_name(factor);
                assert_eq!(Site::parse(&name), Some((site, factor)));
                let live = name.trim_end_matches(".weight");
                let live = format!("{live}.default.weight");
                assert_eq!(Site::parse(&live), Some((site, factor)));
            }
        }
    }

    #[test]
    fn strangers_are_not_parsed() {
        let base = "base_model.model.model.layers.";
        for tail in [
            "03.self_attn.q_proj.lora_A.weight",
            "+3.self_attn.q_proj.lora_A.weight",
            "3.self_attn.q_proj.lora_C.weight",
            "3.self_attn.q_proj.lora_A.bias",
            "3.self_attn.q_proj.lora_magnitude_vector.bias",
            "3.self_attn.gate_proj.lora_A.weight",
            "3.mlp.lora_A.weight",
            ".self_attn.q_proj.lora_A.weight",
        ] {
            assert_eq!(Site::parse(&format!("{base}{tail}")), None, "{tail}");
        }
        assert_eq!(Site::parse("model.layers.0.self_attn.q_proj.weight"), None);
    }
}
