use super::*;
use candle_core::Device;

/// Every rule, with decay and momentum.
pub(super) fn all() -> [Optim; 7] {
    let momentum = |nesterov| SgdConfig {
        momentum: 0.9,
        nesterov,
    };
    [
        Optim::default(),
        Optim::Sgd(SgdConfig::default()),
        Optim::Sgd(momentum(false)),
        Optim::Sgd(momentum(true)),
        Optim::Adafactor(AdafactorConfig),
        Optim::Lion(LionConfig::default()),
        Optim::Muon(MuonConfig::default()),
    ]
}

fn vars() -> BTreeMap<String, Var> {
    let var = |x: &[f32], shape: &[usize]| {
        Var::from_tensor(&Tensor::from_slice(x, shape, &Device::Cpu).unwrap()).unwrap()
    };
    let matrix = var(&[1.0, 2.0, -0.5, 0.25, 3.0, -1.0], &[2, 3]);
    BTreeMap::from([("a".into(), var(&[1.0, 2.0], &[2])), ("m".into(), matrix)])
}

fn step(optimizer: &mut Optimizer, vars: &BTreeMap<String, Var>) {
    let t = optimizer.steps() as f32 + 1.0;
    let gradients = [
        vec![0.3 / t, -0.7],
        vec![1e-4 * t, 0.2, 0.0, -0.3, 0.1 * t, 1.0],
    ];
    let of = |name: &str| Some(gradients[usize::from(name == "m")].as_slice());
    let rate = |name: &str| if name == "m" { 4e-2 } else { 1e-2 };
    optimizer.step(vars, of, rate).unwrap();
}

fn values(vars: &BTreeMap<String, Var>) -> Vec<Vec<f32>> {
    let flat = |v: &Var| v.flatten_all().unwrap().to_vec1().unwrap();
    vars.values().map(flat).collect()
}

#[test]
fn going_on_from_saved_memory_gives_the_same_bits_with_every_rule() {
    for optim in all() {
        let (whole, halves) = (vars(), vars());
        let mut optimizer = Optimizer::new(&whole, optim, 0.1);
        (0..6).for_each(|_| step(&mut optimizer, &whole));
        let mut first = Optimizer::new(&halves, optim, 0.1);
        (0..3).for_each(|_| step(&mut first, &halves));
        let mut saved = first.moments().clone();
        // As a file has it, in which nothing says that nothing is remembered.
        saved.retain(|_, moments| !moments.is_empty());
        let mut second = Optimizer::resume(&halves, optim, 0.1, 3, saved).unwrap();
        (0..3).for_each(|_| step(&mut second, &halves));
        assert_eq!(values(&whole), values(&halves), "{optim:?}");
        assert_eq!(optimizer, second);
        assert_ne!(values(&whole), values(&vars()), "{optim:?}");
    }
}

#[test]
fn buffers_are_sorted_and_counted() {
    let shape = [4, 10];
    let counts = all().map(|optim| {
        let names = optim.rule().buffers(&shape);
        assert!(names.is_sorted_by_key(|(name, _)| *name), "{optim:?}");
        (optim.remembered(&shape), optim.remembered(&[10]))
    });
    let expected = [
        (80, 20),
        (0, 0),
        (40, 10),
        (40, 10),
        (14, 10),
        (40, 10),
        (40, 20),
    ];
    assert_eq!(counts, expected);
}

#[test]
fn each_variable_has_its_own_rate() {
    let vars = vars();
    step(&mut Optimizer::new(&vars, Optim::default(), 0.0), &vars);
    let moved = values(&vars);
    assert!((moved[0][1] - 2.01).abs() < 1e-6 && (moved[1][1] - 1.96).abs() < 1e-5);
}

#[test]
fn a_missing_gradient_moves_nothing() {
    let vars = vars();
    let mut optimizer = Optimizer::new(&vars, Optim::default(), 0.0);
    let only_a = |name: &str| (name == "a").then_some(&[1.0f32, 1.0][..]);
    let error = optimizer.step(&vars, only_a, |_| 0.1).unwrap_err();
    assert!(error.to_string().contains("`m` got no gradient"), "{error}");
    assert_eq!((optimizer.steps(), values(&vars)[0][0]), (0, 1.0));
}

#[test]
fn memory_that_does_not_fit_is_named() {
    let vars = vars();
    let fails = |moments| {
        let result = Optimizer::resume(&vars, Optim::default(), 0.0, 1, moments);
        result.unwrap_err().to_string()
    };
    let good = Optimizer::new(&vars, Optim::default(), 0.0).moments;
    let mut missing = good.clone();
    missing.remove("m");
    let error = fails(missing);
    assert!(
        error.contains("`m`: there are none, expected exp_avg, exp_avg_sq"),
        "{error}"
    );
    let mut longer = good.clone();
    longer.insert("m".into(), zeros(&Optim::default(), &[7]));
    assert!(fails(longer).contains("exp_avg has shape [7], expected [2, 3]"));
    let mut short = good.clone();
    short.get_mut("m").unwrap()[1].values.pop();
    assert!(fails(short).contains("exp_avg_sq"));
    let mut more = good;
    more.insert("c".into(), Vec::new());
    assert!(fails(more).contains("`c`"));
    let others = Optimizer::new(&vars, Optim::Lion(LionConfig::default()), 0.0).moments;
    assert!(fails(others).contains("there are exp_avg, expected"));
}

#[test]
fn torchs_lerp_takes_the_nearer_end() {
    assert_eq!(lerp(1.0, 3.0, 0.25), 1.5);
    assert_eq!(lerp(1.0, 3.0, 0.75), 2.5);
    // The whole way is exact, whatever the start.
    assert_eq!(lerp(1e20, 3.0, 1.0), 3.0);
}
