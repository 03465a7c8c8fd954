//! Submissions that the device has not been seen to finish: who waits for which, and what their times tell of its speed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::adapter::Kind;
use super::budget::Budget;
use super::context::Context;
use super::fault;
use super::limits::SUBMISSIONS_IN_FLIGHT;
use crate::Result;
use crate::profile::span;

/// A submission of the batch of this number.
#[derive(Clone, Debug)]
pub(crate) struct Ticket {
    pub(crate) batch: u64,
    index: wgpu::SubmissionIndex,
    /// Set inside of the poll that sees it end, whichever thread's that is.
    ended: Arc<AtomicBool>,
}

impl Ticket {
    /// Submits the commands.
    pub(crate) fn submit(context: &Context, encoder: wgpu::CommandEncoder, batch: u64) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let ending = Arc::clone(&ended);
        encoder.on_submitted_work_done(move || ending.store(true, Ordering::Release));
        let index = context.queue.submit([encoder.finish()]);
        Self { batch, index, ended }
    }

    /// Blocks until it has ended.
    pub(crate) fn wait(&self, context: &Context) -> Result<Waited> {
        let _span = span("wait for the device");
        let poll = |poll| fault::poll(&context.device, &context.fault, poll);
        poll(wgpu::PollType::Poll)?;
        let exact = !self.ended.load(Ordering::Acquire);
        if exact {
            poll(wgpu::PollType::Wait { submission_index: Some(self.index.clone()), timeout: None })?;
        }
        Ok(Waited { until: Instant::now(), exact })
    }
}

/// What a wait saw.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waited {
    until: Instant,
    /// The submission was still running when the wait began, so it ended at `until`.
    exact: bool,
}

/// A submission in flight.
#[derive(Debug)]
struct Submission {
    ticket: Ticket,
    started: Instant,
    /// `None` where the time will say nothing about the speed: something was compiled in it.
    work: Option<u64>,
}

/// All submissions in flight, the oldest first.
#[derive(Debug)]
pub(crate) struct Submissions {
    in_flight: VecDeque<Submission>,
    /// When the newest finished one ended, where that was observed exactly.
    ended: Option<Instant>,
    budget: Budget,
}

impl Submissions {
    /// None yet, on a device of this kind.
    pub(crate) fn new(kind: Kind) -> Self {
        Self { in_flight: VecDeque::new(), ended: None, budget: Budget::new(kind) }
    }

    /// Work one submission should hold.
    pub(crate) fn budget(&self) -> u64 {
        self.budget.work()
    }

    /// The one to wait for before another is made.
    pub(crate) fn in_the_way(&self) -> Option<Ticket> {
        let full = self.in_flight.len() >= SUBMISSIONS_IN_FLIGHT;
        self.in_flight.front().filter(|_| full).map(|submission| submission.ticket.clone())
    }

    /// The one with which all have ended.
    pub(crate) fn newest(&self) -> Option<Ticket> {
        self.in_flight.back().map(|submission| submission.ticket.clone())
    }

    /// Adds one.
    pub(crate) fn push(&mut self, ticket: Ticket, started: Instant, work: Option<u64>) {
        self.in_flight.push_back(Submission { ticket, started, work });
    }

    /// Notes that the submission of `ticket`, and so all before it, has ended, and learns from how long they took.
    pub(crate) fn retire(&mut self, ticket: &Ticket, waited: Waited) {
        let mut begun = None;
        let mut work = Some(0u64);
        while self.in_flight.front().is_some_and(|submission| submission.ticket.batch <= ticket.batch) {
            let Some(submission) = self.in_flight.pop_front() else { break };
            begun.get_or_insert(submission.started);
            work = work.zip(submission.work).map(|(sum, work)| sum.saturating_add(work));
        }
        // Another thread has been here already.
        let Some(mut begun) = begun else { return };
        if let Some(ended) = self.ended {
            begun = begun.max(ended);
        }
        self.ended = waited.exact.then_some(waited.until);
        if let (true, Some(work)) = (waited.exact, work) {
            self.budget.observe(work, waited.until.saturating_duration_since(begun));
        }
    }
}
