use super::*;

/// Whatever the timing of the callers, no window of 60 seconds holds more than
/// the free plan's 5 requests, and none is slower than it has to be.
#[tokio::test(start_paused = true)]
async fn never_more_than_five_in_any_sixty_seconds() {
    let limiter = Limiter::new(Plan::Free {});
    let mut sent = Vec::new();
    for request in 0..200_u64 {
        tokio::time::sleep(Duration::from_millis(fastrand::Rng::with_seed(request).u64(0..20_000))).await;
        let _sent = limiter.acquire("stream", |_| {}).await;
        sent.push(Instant::now());
    }
    assert_at_most_five_in_sixty_seconds(&sent);
}

fn assert_at_most_five_in_sixty_seconds(sent: &[Instant]) {
    for window in sent.windows(6) {
        assert!(window[5] - window[0] > Duration::from_secs(60), "{:?}", window[5] - window[0]);
    }
}

/// Requests that never reached the server, at random, between others.
#[tokio::test(start_paused = true)]
async fn what_is_given_back_never_makes_a_sixth() {
    let limiter = Limiter::new(Plan::Free {});
    let mut random = fastrand::Rng::with_seed(7);
    let (mut sent, mut under_way) = (Vec::new(), Vec::new());
    for _ in 0..500 {
        tokio::time::sleep(Duration::from_millis(random.u64(0..9_000))).await;
        let permit = limiter.acquire("stream", |_| {}).await;
        if random.bool() {
            sent.push(Instant::now());
        } else {
            under_way.push(permit);
        }
        if random.bool() && !under_way.is_empty() {
            limiter.give_back(under_way.swap_remove(random.usize(0..under_way.len())));
        }
    }
    assert!(sent.len() > 200, "{}", sent.len());
    assert_at_most_five_in_sixty_seconds(&sent);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_never_reached_the_server_costs_nothing() {
    let limiter = Limiter::new(Plan::Free {});
    let begin = Instant::now();
    for _ in 0..100 {
        let permit = limiter.acquire("stream", |_| {}).await;
        limiter.give_back(permit);
    }
    assert_eq!(begin.elapsed(), Duration::ZERO);
    // The limit is what it was: five at once, and the sixth a window later.
    for _ in 0..6 {
        let _sent = limiter.acquire("stream", |_| {}).await;
    }
    assert!(begin.elapsed() >= WINDOW);
}

#[tokio::test(start_paused = true)]
async fn the_one_that_waits_takes_what_is_given_back() {
    let limiter = Limiter::new(Plan::Free {});
    let mut permits = Vec::new();
    for _ in 0..5 {
        permits.push(limiter.acquire("stream", |_| {}).await);
    }
    let waiting = tokio::spawn({
        let limiter = Arc::clone(&limiter);
        async move {
            let _sent = limiter.acquire("stream", |_| {}).await;
            Instant::now()
        }
    });
    tokio::time::sleep(Duration::from_secs(10)).await;
    limiter.give_back(permits.remove(3));
    let now = Instant::now();
    assert_eq!(waiting.await.unwrap(), now);
}

#[tokio::test(start_paused = true)]
async fn a_long_run_reaches_the_limit_within_three_percent() {
    let limiter = Limiter::new(Plan::Free {});
    let begin = Instant::now();
    for _ in 0..501 {
        let _sent = limiter.acquire("stream", |_| {}).await;
    }
    let ideal = Duration::from_secs(500 * 12);
    let taken = begin.elapsed();
    assert!(taken >= ideal && taken.as_secs_f64() < ideal.as_secs_f64() * 1.03, "{taken:?}");
}

#[tokio::test(start_paused = true)]
async fn a_pause_stops_everyone() {
    let limiter = Limiter::new(Plan::Paid {});
    let _sent = limiter.acquire("stream", |_| {}).await;
    limiter.pause(Duration::from_secs(30));
    limiter.pause(Duration::from_secs(10));
    let begin = Instant::now();
    let _sent = limiter.acquire("stream", |_| {}).await;
    assert!(begin.elapsed() >= Duration::from_secs(30));
}

#[test]
fn the_plans_allow_what_they_say() {
    assert_eq!(Limiter::new(Plan::Free {}).cells.len(), 5);
    let custom = |n| Plan::Custom { requests_per_minute: NonZeroU32::new(n).unwrap() };
    assert_eq!(Limiter::new(custom(10)).cells.len(), 10);
    assert_eq!(Limiter::new(custom(300)).cells.len(), 1);
    assert_eq!(Limiter::new(custom(300)).per_minute(), 300);
}

/// Requests of any timing under any limit by the minute: no 60 seconds hold more,
/// and a client that is always there reaches it.
#[tokio::test(start_paused = true)]
async fn no_minute_holds_more_than_its_limit() {
    for per_minute in [61, 120, 121, 242, 300, 1000, 6000] {
        let plan = Plan::Custom { requests_per_minute: NonZeroU32::new(per_minute).unwrap() };
        let limiter = Limiter::new(plan);
        let mut random = fastrand::Rng::with_seed(u64::from(per_minute));
        let mut sent = Vec::new();
        for _ in 0..4 * per_minute {
            if random.u32(0..per_minute) == 0 {
                tokio::time::sleep(Duration::from_secs(random.u64(1..10))).await;
            }
            let _sent = limiter.acquire("stream", |_| {}).await;
            sent.push(Instant::now());
        }
        let most = per_minute as usize;
        for window in sent.windows(most + 1) {
            assert!(window[most] - window[0] >= Duration::from_secs(60), "{per_minute}");
        }
    }
}

/// A clock that ticks in milliseconds makes every request late, and some later.
#[tokio::test(start_paused = true)]
async fn what_went_late_is_made_up_for() {
    for (plan, per_second, most) in [
        (Plan::Paid {}, 95.0, 97),
        (Plan::Custom { requests_per_minute: NonZeroU32::new(30_000).unwrap() }, 500.0, 508),
    ] {
        let limiter = Limiter::new(plan);
        let begin = Instant::now();
        let mut sent = Vec::new();
        for request in 0..2000_u64 {
            let _sent = limiter.acquire("stream", |_| {}).await;
            sent.push(Instant::now());
            tokio::time::sleep(Duration::from_micros(request % 7 * 300)).await;
        }
        let reached = 2000.0 / begin.elapsed().as_secs_f64();
        assert!(reached > 0.97 * per_second && reached < 1.01 * per_second, "{reached}");
        for window in sent.windows(most + 1) {
            assert!(window[most] - window[0] > Duration::from_secs(1), "more than {most} in a second");
        }
    }
}

const TEN_MINUTES: Duration = Duration::from_secs(600);

/// Requests of a stream that has `at_once` of them waiting, in ten minutes that end
/// with `end`.
fn requests_of(
    limiter: &Arc<Limiter>,
    stream: &'static str,
    at_once: usize,
    end: Instant,
) -> Arc<AtomicUsize> {
    let sent = Arc::new(AtomicUsize::new(0));
    for _ in 0..at_once {
        let (limiter, sent) = (Arc::clone(limiter), Arc::clone(&sent));
        tokio::spawn(async move {
            loop {
                let _sent = limiter.acquire(stream, |_| {}).await;
                if Instant::now() > end {
                    return;
                }
                // Before it, one of them came first.
                let is_counted = end - Instant::now() < TEN_MINUTES;
                sent.fetch_add(usize::from(is_counted), Ordering::Relaxed);
                // An answer takes no time: a stream that waits for nothing is not owed a turn.
                tokio::task::yield_now().await;
            }
        });
    }
    sent
}

#[tokio::test(start_paused = true)]
async fn streams_share_the_limit_however_many_requests_each_has() {
    // On the free plan five go at once: who has one waiting can be one of them.
    for (plan, few) in [(Plan::Free {}, 5), (Plan::Paid {}, 1)] {
        for (many, few, third) in [(30, few, 0), (few, 30, 0), (30, few, 6)] {
            let limiter = Limiter::new(plan);
            let end = Instant::now() + WINDOW + TEN_MINUTES;
            let streams = [("many", many), ("few", few), ("third", third)]
                .map(|(stream, at_once)| requests_of(&limiter, stream, at_once, end));
            tokio::time::sleep_until(end + Duration::from_secs(300)).await;
            let sent = streams.map(|sent| sent.load(Ordering::Relaxed));
            let most = sent.iter().max().unwrap();
            let busy = sent.iter().filter(|sent| **sent > 0);
            assert_eq!(busy.clone().count(), 2 + usize::from(third > 0), "{sent:?}");
            assert!(busy.clone().all(|sent| most - sent <= 1), "{plan:?}: {sent:?}");
            let total: usize = sent.iter().sum();
            assert!(total as u32 >= limiter.per_minute() * 10 - 10, "{plan:?}: {total} in ten minutes");
        }
    }
}

/// Those who give up waiting leave the others their turns.
#[tokio::test(start_paused = true)]
async fn a_request_that_is_cut_short_holds_up_no_other() {
    let limiter = Limiter::new(Plan::Custom { requests_per_minute: NonZeroU32::new(120).unwrap() });
    let mut random = fastrand::Rng::with_seed(3);
    let mut tasks = Vec::new();
    for request in 0..400_u32 {
        let limiter = Arc::clone(&limiter);
        let stream = ["a", "b", "c"][request as usize % 3];
        let patience = Duration::from_millis(random.u64(0..60_000));
        let is_patient = random.bool();
        tasks.push(tokio::spawn(async move {
            let permit = limiter.acquire(stream, |_| {});
            if is_patient { Some(permit.await) } else { tokio::time::timeout(patience, permit).await.ok() }
        }));
    }
    let mut sent = 0;
    for task in tasks {
        sent += usize::from(task.await.unwrap().is_some());
    }
    assert!(sent > 200, "{sent}");
    // Nobody waits any more, and the next one goes in its time.
    let next = tokio::time::timeout(Duration::from_secs(1), limiter.acquire("d", |_| {})).await;
    assert!(next.is_ok());
}
