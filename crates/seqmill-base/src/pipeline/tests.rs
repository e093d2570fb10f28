use super::*;
use crate::budget::Budget;
use crate::error::FormatKind;
use std::time::Duration;

struct Number(u64, #[allow(dead_code)] Option<Lease>);

impl Item for Number {
    fn bytes(&self) -> u64 {
        100
    }
}

fn job(limit: u64) -> (Job, AccountId, AccountId) {
    let budget = Budget::new(limit, 0).unwrap();
    let (first, second) = (budget.account("first", limit / 2), budget.account("second", limit / 2));
    (Job::new(budget), first, second)
}

/// Squares the numbers below `n` in parallel, pairs them in order, and collects.
fn squares(n: u64, limit: u64, threads: &Threads, bad: Option<u64>) -> (Result<()>, Vec<u64>) {
    let (job, first, second) = job(limit);
    let mut next = 0;
    let mut seen = Vec::new();
    let mut pending = None;
    let (result, figures) = Pipeline::source("count", 0, first, 100, |lease| {
        next += 1;
        Ok((next <= n).then(|| Number(next - 1, Some(lease))))
    })
    .parallel(
        "square",
        1,
        second,
        |_| 100,
        || (),
        |(), Number(i, _), lease| {
            if i % 7 == 3 {
                std::thread::sleep(Duration::from_micros(300));
            }
            if bad.is_some_and(|b| i >= b) {
                return Err(Error::format(FormatKind::Other, "bad").at_record(i));
            }
            Ok(Number(i * i, Some(lease)))
        },
    )
    .ordered::<Number>("pair", 1, |item, emit| {
        match (item, pending.take()) {
            (Some(Number(i, lease)), None) => pending = Some(Number(i, lease)),
            (Some(Number(i, lease)), Some(Number(j, _))) => emit.push(Number(i + j, lease)),
            (None, Some(last)) => emit.push(last),
            (None, None) => {}
        }
        Ok(())
    })
    .run(
        "collect",
        2,
        |Number(i, _)| {
            seen.push(i);
            Ok(())
        },
        threads,
        &job,
    );
    assert_eq!(job.budget.reserved(), 0, "every lease came back");
    assert_eq!(figures.len(), 4);
    (result, seen)
}

fn expected(n: u64) -> Vec<u64> {
    let squares: Vec<u64> = (0..n).map(|i| i * i).collect();
    squares.chunks(2).map(|pair| pair.iter().sum()).collect()
}

#[test]
fn order_is_kept_whatever_the_threads_and_the_budget() {
    for threads in [
        Threads::Shared(1),
        Threads::Shared(2),
        Threads::Shared(8),
        Threads::PerGroup(vec![1, 3, 1]),
    ] {
        for limit in [400, 2_000, 100_000] {
            let (result, seen) = squares(501, limit, &threads, None);
            result.unwrap();
            assert_eq!(seen, expected(501), "{threads:?} {limit}");
        }
    }
    assert_eq!(squares(0, 1000, &Threads::Shared(2), None).1, Vec::<u64>::new());
}

#[test]
fn the_first_error_in_order_is_the_one_reported() {
    for threads in [1, 2, 8] {
        let (result, seen) = squares(300, 5_000, &Threads::Shared(threads), Some(101));
        assert_eq!(result.unwrap_err().place().record, Some(101));
        assert_eq!(seen, expected(101), "what came before it is delivered");
    }
}

#[test]
fn an_end_that_is_none_is_not_complained_of() {
    let (job, first, _) = job(1000);
    let (mut n, mut ends) = (0, Vec::new());
    let (result, _) = Pipeline::source("s", 0, first, 10, |lease| {
        n += 1;
        if n == 5 {
            return Err(Error::input("the disk is gone"));
        }
        Ok(Some(Number(n, Some(lease))))
    })
    .ordered::<Number>("whole", 0, |item, emit| {
        if item.is_none() {
            ends.push(emit.is_failing());
            return Err(Error::input("half a record at the end"));
        }
        Ok(())
    })
    .run("t", 0, |_| Ok(()), &Threads::Shared(2), &job);
    assert_eq!(result.unwrap_err().message(), "the disk is gone");
    assert_eq!(ends, [true]);
}

#[test]
fn a_panic_becomes_an_internal_error() {
    let (job, first, _) = job(1000);
    let (result, _) = Pipeline::<Number>::source("s", 0, first, 10, |_| panic!("oh")).run(
        "t",
        0,
        |_| Ok(()),
        &Threads::Shared(2),
        &job,
    );
    let error = result.unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::Internal);
    assert!(error.to_string().contains("oh"));
}

#[test]
fn a_budget_too_small_is_an_error_not_a_hang() {
    let (job, first, _) = job(50);
    let (result, _) = Pipeline::source("s", 0, first, 100, |l| Ok(Some(Number(1, Some(l))))).run(
        "t",
        0,
        |_| Ok(()),
        &Threads::Shared(2),
        &job,
    );
    assert_eq!(result.unwrap_err().kind(), crate::ErrorKind::Budget);
}

#[test]
fn cancelling_ends_the_run() {
    let (job, first, _) = job(1000);
    let token = job.cancel.clone();
    let mut n = 0;
    let (result, _) = Pipeline::source("s", 0, first, 100, |l| {
        n += 1;
        if n == 100 {
            token.cancel();
        }
        Ok(Some(Number(n, Some(l))))
    })
    .run("t", 0, |_| Ok(()), &Threads::Shared(2), &job);
    assert_eq!(result.unwrap_err().kind(), crate::ErrorKind::Cancelled);
}

#[test]
fn a_stage_may_end_the_stream_before_the_damage() {
    for threads in [1, 2, 8] {
        let (job, first, _) = job(2000);
        let mut n = 0;
        let mut seen = Vec::new();
        let (result, _) = Pipeline::source("s", 0, first, 100, |l| {
            n += 1;
            if n > 12 {
                return Err(Error::format(FormatKind::Other, "damage"));
            }
            Ok(Some(Number(n, Some(l))))
        })
        .ordered::<Number>("first ten", 0, |item, emit| {
            if let Some(number) = item {
                let last = number.0 == 10;
                emit.push(number);
                if last {
                    emit.end();
                }
            }
            Ok(())
        })
        .run(
            "t",
            0,
            |Number(i, _)| {
                seen.push(i);
                Ok(())
            },
            &Threads::Shared(threads),
            &job,
        );
        result.unwrap();
        assert_eq!(seen, (1..=10).collect::<Vec<u64>>());
    }
}
