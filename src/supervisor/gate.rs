//! Stops or kills the tasks of a simulated node, at any point where they wait.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// What a node's tasks may do. Clones are the same gate.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<Mutex<GateState>>);

#[derive(Default)]
struct GateState {
    phase: GatePhase,
    wakers: Vec<Waker>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum GatePhase {
    /// They run.
    #[default]
    Open,
    /// They do not, for now: timers pass, and nobody looks.
    Paused,
    /// They never will again.
    Dead,
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gate({:?})", self.phase())
    }
}

impl Gate {
    pub(crate) fn set(&self, phase: GatePhase) {
        let mut state = self.lock();
        if state.phase == GatePhase::Dead {
            return;
        }
        state.phase = phase;
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn phase(&self) -> GatePhase {
        self.lock().phase
    }

    /// The same work, which goes on as the gate lets it: `None` once the node is dead.
    pub(crate) fn guard<F: Future>(&self, work: F) -> Guarded<F> {
        Guarded {
            gate: self.clone(),
            work: Some(Box::pin(work)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, GateState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Made by [`Gate::guard`].
pub(crate) struct Guarded<F> {
    gate: Gate,
    work: Option<Pin<Box<F>>>,
}

impl<F: Future> Future for Guarded<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.gate.lock();
        match state.phase {
            GatePhase::Open => {}
            GatePhase::Paused => {
                state.wakers.push(cx.waker().clone());
                return Poll::Pending;
            }
            GatePhase::Dead => {
                drop(state);
                self.work = None;
                return Poll::Ready(None);
            }
        }
        drop(state);
        let Some(work) = self.work.as_mut() else {
            return Poll::Ready(None);
        };
        work.as_mut().poll(cx).map(Some)
    }
}
