//! What fine-tuning has moved on texts that it was not for.

use maud::{Markup, html};

use crate::data::{Elsewhere, Moved};
use crate::figures::Axis;
use crate::format::{self, at};

/// Size of a change's bar, and the room at its ends.
const BAR_WIDTH: f64 = 150.0;
const BAR_PAD: f64 = 6.0;

/// A sentence, and a line for each text with perplexity before and after.
pub(crate) fn section(elsewhere: &Elsewhere) -> Markup {
    let x = axis(elsewhere);
    html! {
        section {
            h2 { "Elsewhere" }
            p { "What it has moved on texts of other kinds, which nobody tuned for: " (sentence(elsewhere)) }
            div.card.scroll { table.metrics {
                thead { tr {
                    th scope="col" { "Text" } th scope="col" { "Tokens" }
                    th scope="col" { "Perplexity before" } th scope="col" { "After" }
                    th scope="col" { "KL, nats a token" } th scope="col" { "Same choice" } th scope="col" { "Change of perplexity" }
                } }
                tbody {
                    (line("All texts", &elsewhere.all, &x))
                    @for (name, moved) in &elsewhere.texts { (line(name, moved, &x)) }
                }
            } }
            p.soft.under { "Perplexity is how many tokens a model hesitates between: a fall is a gain. KL is the divergence of the tuned model's next-token distribution from the base's, 0 where nothing has changed; “same choice” is how often both find the same token likeliest. Each token counts once, so long texts count more." }
        }
    }
}

/// A change of perplexity for the tiles at the head.
pub(crate) fn tile(elsewhere: &Elsewhere) -> Markup {
    let all = &elsewhere.all;
    html! {
        div.card.tile {
            span { "Perplexity elsewhere" }
            b class=(direction(all)) { (percent(all)) }
            small { (perplexity(all.perplexity_before)) " → " (perplexity(all.perplexity_after)) }
        }
    }
}

impl Elsewhere {
    /// What happened to all texts together, in a sentence.
    pub fn says(&self) -> String {
        sentence(self)
    }
}

fn sentence(elsewhere: &Elsewhere) -> String {
    let all = &elsewhere.all;
    let verb = match direction(all) {
        "up" => "fell",
        "down" => "rose",
        _ => "stayed",
    };
    let better = elsewhere.texts.iter();
    let better = better.filter(|(_, moved)| moved.increase() < 0.0).count();
    format!(
        "perplexity {verb} from {} to {} ({}), better on {better} of {} texts; the divergence is {} nats a token, and the likeliest token is the same at {:.1} % of the places.",
        perplexity(all.perplexity_before),
        perplexity(all.perplexity_after),
        percent(all),
        elsewhere.texts.len(),
        number(all.kl, 4),
        100.0 * all.same_choice
    )
}

fn line(name: &str, moved: &Moved, x: &Axis) -> Markup {
    html! {
        tr {
            td { (name) }
            td.num data-th="tokens" { (moved.tokens) }
            td.num data-th="perplexity before" { (perplexity(moved.perplexity_before)) }
            td.num data-th="perplexity after" { (perplexity(moved.perplexity_after)) }
            td.num data-th="KL" { (number(moved.kl, 4)) }
            td.num data-th="same choice" { (format!("{:.1} %", 100.0 * moved.same_choice)) }
            td.num { span class=(direction(moved)) { (percent(moved)) } (bar(moved, x)) }
        }
    }
}

/// All changes of a table on one scale, with a line at zero.
fn bar(moved: &Moved, x: &Axis) -> Markup {
    let (zero, end) = (at(x.at(0.0)), at(x.at(moved.increase())));
    let direction = direction(moved);
    html! {
        svg.bar viewBox={ "0 0 " (at(BAR_WIDTH)) " 12" } aria-hidden="true" {
            line.zero x1=(zero) x2=(zero) y1="0" y2="12" {}
            line class={ "whisker s-" (direction) } x1=(zero) x2=(end) y1="6" y2="6" {}
            circle class={ "f-" (direction) } cx=(end) cy="6" r="4" {}
        }
    }
}

fn axis(elsewhere: &Elsewhere) -> Axis {
    let changes = elsewhere.texts.iter().map(|(_, moved)| moved.increase());
    let finite = changes.filter(|change| change.is_finite());
    // Never of no width: one hundredth of a percent at least.
    let widest = finite.fold(1e-4_f64, |widest, change| widest.max(change.abs()));
    Axis {
        low: -widest,
        high: widest,
        from: BAR_PAD,
        to: BAR_WIDTH - BAR_PAD,
    }
}

fn perplexity(value: f64) -> String {
    number(value, 2)
}

pub(crate) fn number(value: f64, decimals: usize) -> String {
    if value.is_finite() {
        format!("{value:.decimals$}")
    } else {
        "no number".into()
    }
}

fn percent(moved: &Moved) -> String {
    let change = 100.0 * moved.increase();
    if change.is_finite() {
        format!("{} %", format::signed(change, 2))
    } else {
        "no number".into()
    }
}

/// `up` is a gain: perplexity that falls. What is printed as 0.00 % has no direction, and what is no number is a loss.
fn direction(moved: &Moved) -> &'static str {
    let change = 100.0 * moved.increase();
    if change.is_nan() {
        "down"
    } else if change <= -0.005 {
        "up"
    } else if change >= 0.005 {
        "down"
    } else {
        "tie"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moved(before: f64, after: f64) -> Moved {
        Moved {
            tokens: 10,
            perplexity_before: before,
            perplexity_after: after,
            kl: 0.0125,
            same_choice: 0.951,
        }
    }

    #[test]
    fn a_fall_is_a_gain_and_what_is_no_number_is_none() {
        let changes = [(20.0, 19.0), (20.0, 21.0), (20.0, 20.0), (20.0, f64::NAN)];
        let found = changes.map(|(before, after)| direction(&moved(before, after)));
        assert_eq!(found, ["up", "down", "tie", "down"]);
        assert_eq!(percent(&moved(20.0, 19.0)), "\u{2212}5.00 %");
        assert_eq!(percent(&moved(20.0, f64::NAN)), "no number");
    }

    #[test]
    fn the_sentence_says_all_of_it() {
        let said = sentence(&Elsewhere {
            all: moved(20.0, 19.0),
            texts: vec![
                ("a".into(), moved(20.0, 18.0)),
                ("b".into(), moved(2.0, 2.5)),
            ],
        });
        assert!(
            said.starts_with("perplexity fell from 20.00 to 19.00"),
            "{said}"
        );
        for part in ["1 of 2 texts", "0.0125 nats", "95.1 %"] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }
}
