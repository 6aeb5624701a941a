//! Measures beside the loss.

use crate::support::{adapter, keep, model, plain, records, three_rows};
use candle_core::DType;
use lora::{Best, Evaluation, Measures, Scorer, TrainConfig, TrainState, Trainable, train_from};
use std::error::Error;
use std::ops::ControlFlow;

/// Gives the next of its numbers; stops the run, or fails, when there is none.
struct Numbers {
    left: Vec<f64>,
    fails: bool,
}

impl Scorer for Numbers {
    fn names(&self) -> Vec<String> {
        vec!["eval_luck".into()]
    }

    fn score(
        &mut self,
        trainable: &Trainable,
    ) -> Result<ControlFlow<(), Measures>, Box<dyn Error + Send + Sync>> {
        assert!(!trainable.vars().is_empty());
        if self.left.is_empty() {
            return if self.fails {
                Err("no luck".into())
            } else {
                Ok(ControlFlow::Break(()))
            };
        }
        let measures = Measures::from([("eval_luck".to_owned(), self.left.remove(0))]);
        Ok(ControlFlow::Continue(measures))
    }
}

fn config(metric: &str) -> TrainConfig {
    TrainConfig {
        max_steps: Some(6),
        eval_steps: Some(1),
        metric_for_best_model: metric.into(),
        ..plain()
    }
}

type Outcome = Result<lora::TrainOutcome, lora::TrainError>;

fn run(config: &TrainConfig, left: &[f64], fails: bool) -> (Outcome, Vec<lora::EvalRecord>) {
    let mut model = model(DType::F32);
    let trainable = Trainable::attach(&adapter(&model, true), &mut model).unwrap();
    let mut state = TrainState::new(&trainable, config);
    let rows = three_rows();
    let mut numbers = Numbers {
        left: left.to_vec(),
        fails,
    };
    let evaluation = Evaluation::from(&rows).with_scorer(&mut numbers);
    let mut events = Vec::new();
    let outcome = train_from(
        &model,
        &trainable,
        &mut state,
        &rows,
        evaluation,
        config,
        &mut keep(&mut events),
    );
    (outcome, records(events).1)
}

#[test]
fn the_best_goes_by_the_measure_that_is_named() {
    let luck = [0.1, 0.5, 0.3, 0.5, 0.2, 0.4];
    let patient = TrainConfig {
        early_stopping_patience: Some(3),
        ..config("luck")
    };
    let (outcome, evals) = run(&patient, &luck, true);
    let outcome = outcome.unwrap();
    let best = Best {
        step: 2,
        metric: "eval_luck".into(),
        value: 0.5,
        eval_loss: evals[1].eval_loss,
    };
    assert_eq!(outcome.best, Some(best));
    assert!(outcome.stopped_early && outcome.steps == 5);
    let seen: Vec<f64> = evals.iter().map(|e| e.metrics["eval_luck"]).collect();
    assert_eq!(seen, luck[..5]);
    assert_eq!(outcome.eval_metrics["eval_luck"], 0.2);
    let line = serde_json::to_value(&evals[0]).unwrap();
    assert_eq!(
        (&line["step"], &line["eval_luck"]),
        (&1.into(), &0.1.into())
    );
    assert_eq!(
        serde_json::from_value::<lora::EvalRecord>(line).unwrap(),
        evals[0]
    );
    let by_loss = run(&config("eval_loss"), &luck, true).0.unwrap();
    assert_eq!(by_loss.best.unwrap().metric, "eval_loss");
}

#[test]
fn a_scorer_may_stop_the_run_or_fail() {
    let (outcome, evals) = run(&config("loss"), &[0.5], false);
    let outcome = outcome.unwrap();
    assert!(!outcome.complete && outcome.steps == 2 && evals.len() == 1);
    let error = run(&config("loss"), &[], true).0.unwrap_err().to_string();
    assert!(error.contains("no luck"), "{error}");
    let error = run(&config("loss"), &[f64::NAN], true).0.unwrap_err();
    assert!(
        error.to_string().contains("step 1: `eval_luck` is NaN"),
        "{error}"
    );
    let error = run(&config("rougeL"), &[], true).0.unwrap_err().to_string();
    assert!(
        error.contains("eval_rougeL") && error.contains("eval_luck, eval_loss"),
        "{error}"
    );
}
