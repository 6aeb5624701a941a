//! The tests keep their level: the tables of `docs/statistics.md` in small.

#[path = "../../examples/simulate/draw.rs"]
mod draw;
#[path = "../../examples/simulate/null.rs"]
mod null;

use null::Test;

/// A whole comparison a repetition, with its planning, takes longer than a test alone.
fn repetitions(test: Test) -> u64 {
    match test {
        Test::TostOfRates | Test::TostOfFew | Test::ClusteredTost => 400,
        _ => 2000,
    }
}

/// 5 % and four standard errors of a simulation this long: by chance alone one run in 30,000.
fn most(test: Test) -> f64 {
    0.05 + 4.0 * (0.05 * 0.95 / repetitions(test) as f64).sqrt()
}

#[test]
fn no_test_errs_more_often_than_it_says() {
    let sound = Test::ALL
        .into_iter()
        .filter(|test| *test != Test::SignFlipDespiteClusters);
    for test in sound {
        for n in [15, 50, 200] {
            let rate = test.error_rate(n, repetitions(test), 77).unwrap();
            assert!(rate <= most(test), "{} at {n} rows: {rate}", test.name());
        }
    }
}

#[test]
fn the_simulation_can_find_a_fault() {
    // Rows that belong together, tested as if they did not, are called different too often.
    let ignored = Test::SignFlipDespiteClusters;
    let rate = ignored.error_rate(200, repetitions(ignored), 77).unwrap();
    assert!(rate > most(ignored), "{rate}");
}
