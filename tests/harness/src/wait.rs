//! Waiting for a condition.

use std::time::Duration;

use crate::Stopwatch;

/// The first pause between two looks, and the longest one.
const PAUSE: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(50));

/// Looks until `look` gives a value and returns it. `look` says in its error how far things are.
///
/// # Panics
/// When `within` is over: with `what` was waited for and the state that was seen last.
pub async fn wait_for<T>(
    what: &str,
    within: Duration,
    look: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    match look_for(within, look).await {
        Ok(value) => value,
        Err(last) => panic!("{what}: not within {within:?}. Last seen: {last}"),
    }
}

/// Looks until `look` gives a value and returns it, or what `look` said last when `within` is over: for
/// a condition whose absence is judged and not a failure of the test by itself.
///
/// # Errors
/// What was seen last.
pub async fn look_for<T>(
    within: Duration,
    mut look: impl AsyncFnMut() -> Result<T, String>,
) -> Result<T, String> {
    let watch = Stopwatch::start();
    let mut pause = PAUSE.0;
    let mut last = "nothing was seen yet: one look took the whole time".to_owned();
    loop {
        let left = within.saturating_sub(watch.elapsed());
        match tokio::time::timeout(left, look()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(state)) => last = state,
            Err(_) => {}
        }
        if watch.elapsed() >= within {
            return Err(last);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE.1);
    }
}

/// Returns when `time` has passed: the length of a fault is a part of it, and never a guess of how long something else
/// takes.
pub async fn lasts(time: Duration) {
    let watch = Stopwatch::start();
    while watch.elapsed() < time {
        tokio::time::sleep(PAUSE.1.min(time)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn returns_as_soon_as_the_condition_holds() {
        let mut looks = 0;
        let seen = wait_for("three looks", Duration::from_secs(5), async || {
            looks += 1;
            if looks == 3 {
                Ok(looks)
            } else {
                Err(format!("{looks} looks"))
            }
        })
        .await;
        assert_eq!(seen, 3);
    }

    #[tokio::test]
    #[should_panic(expected = "a miracle: not within 20ms. Last seen: still nothing")]
    async fn says_what_it_saw_when_the_time_is_up() {
        wait_for("a miracle", Duration::from_millis(20), async || {
            Err::<(), _>("still nothing".to_owned())
        })
        .await;
    }

    #[tokio::test]
    async fn a_look_that_hangs_is_cut() {
        let hang = async || std::future::pending::<Result<(), String>>().await;
        let seen = look_for(Duration::from_millis(20), hang).await;
        assert_eq!(
            seen,
            Err("nothing was seen yet: one look took the whole time".to_owned())
        );
    }
}
