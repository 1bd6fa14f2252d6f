// The protocol as data: the five steps of version 3 and our settle, and the effects that each side runs for them,
// each beside its undo and its deadline. These tables drive effects, error texts, the sweep and the printed
// documentation; the machines own the order.

export type Side = "source" | "destination" | "coordinator";

export type StepName = "begin" | "prepare" | "perform" | "finish" | "confirm" | "settle";

interface Step {
  /** 1 to 5 as in libvirt's protocol version 3; 6 for settle, which libvirt does not have. */
  readonly number: number;
  readonly side: "source" | "destination";
  readonly does: string;
  readonly whenItFails: {
    /** The state of the guest after the failure. */
    readonly guest: string;
    readonly kills: string;
    readonly resumes: string;
  };
  /** Time for which the coordinator (for settle: the source) waits for the answer before it asks again, in ms. */
  readonly deadlineMs: number;
}

export const steps = {
  begin: {
    number: 1,
    side: "source",
    does: "acquires the migration job, checks that the guest can be migrated, and describes it",
    whenItFails: {
      guest: "it keeps running at the source, unchanged",
      kills: "neither side: there is no copy yet",
      resumes: "neither side: it was not paused",
    },
    deadlineMs: 10_000,
  },
  prepare: {
    number: 2,
    side: "destination",
    does: "starts QEMU paused and listening, with the capabilities that both sides need",
    whenItFails: {
      guest: "it keeps running at the source",
      kills: "the destination ends the QEMU that it started",
      resumes: "neither side: it was not paused",
    },
    deadlineMs: 60_000,
  },
  perform: {
    number: 3,
    side: "source",
    does: "transfers the memory while the guest runs, stops the guest and transfers the rest",
    whenItFails: {
      guest: "it runs at the source again as soon as QEMU has reported how the cancelled stream ended",
      kills: "the destination, on a cancelled Finish or at the end of its stream",
      resumes: "the source, unless the destination may hold the complete guest: then it settles first",
    },
    deadlineMs: 86_400_000,
  },
  finish: {
    number: 4,
    side: "destination",
    does: "takes and resumes the guest, or kills its copy when the source failed",
    whenItFails: {
      guest: "it is paused at the source until the destination has answered",
      kills:
        "the destination ends its copy once its refusal is durable; without an answer neither side is ended",
      resumes: "the source, when the destination has refused or is fenced off",
    },
    deadlineMs: 30_000,
  },
  confirm: {
    number: 5,
    side: "source",
    does: "kills the source's copy after the destination has taken the guest, or settles and resumes",
    whenItFails: {
      guest: "it runs at the destination",
      kills: "the source ends its paused copy, and retries until it is gone",
      resumes: "neither side: the guest already runs",
    },
    deadlineMs: 30_000,
  },
  settle: {
    number: 6,
    side: "destination",
    does: "answers *taken* or *refused*; an undecided destination refuses for good",
    whenItFails: {
      guest: "it runs at the destination if it was taken there; the source's copy is paused",
      kills: "neither side while the answer is pending",
      resumes: "neither side while the answer is pending, except under the policies `fence` and `resume`",
    },
    deadlineMs: 5_000,
  },
} as const satisfies Record<StepName, Step>;

/**
 * An operator's abort, which the coordinator passes to the source. It is not a step: when it does not reach the
 * source, nothing is undone.
 */
export const abort = { side: "source", deadlineMs: 10_000 } as const;

/** The coordinator's questions, by the names of the effects that ask them. */
export const questions = {
  askBegin: "begin",
  askPrepare: "prepare",
  askPerform: "perform",
  askAbort: "abort",
  askFinish: "finish",
  askFinishCancelled: "finish",
  askConfirm: "confirm",
  askConfirmCancelled: "confirm",
} as const satisfies Record<string, StepName | "abort">;

export type QuestionName = keyof typeof questions;

interface Effect {
  readonly step: StepName;
  readonly side: "source" | "destination";
  readonly does: string;
  /** The effect that reverses this one, or why there is none. */
  readonly undo: EffectName | "nothing to undo" | "is an undo" | "cannot be undone";
  /** Without an answer for this many milliseconds, the answer is `unknown`. */
  readonly deadlineMs: number;
  /**
   * Behaviour when the journal fails: `refused` for effects that begin or decide something, `goes on` for those that
   * only end or undo.
   */
  readonly withoutJournal: "refused" | "goes on";
}

export type EffectName =
  | "describe"
  | "mirror"
  | "start"
  | "setLimits"
  | "announcePostcopy"
  | "startPostcopy"
  | "completeMirrors"
  | "relaxLimits"
  | "throttle"
  | "suspend"
  | "continue"
  | "cancel"
  | "forceCancel"
  | "restore"
  | "cancelMirrors"
  | "retractPostcopy"
  | "handOver"
  | "pausePostcopy"
  | "reconnect"
  | "resumePostcopy"
  | "probeSource"
  | "settle"
  | "fence"
  | "concede"
  | "killSource"
  | "prepare"
  | "probeDestination"
  | "listenAgain"
  | "claim"
  | "disclaim"
  | "take"
  | "resume"
  | "recordRefusal"
  | "killDestination";

export const effects = {
  describe: {
    step: "begin",
    side: "source",
    does: "queries QEMU for its state, its uuid and its capabilities",
    undo: "nothing to undo",
    deadlineMs: 5_000,
    withoutJournal: "refused",
  },
  mirror: {
    step: "perform",
    side: "source",
    does: "starts the disk mirrors (`blockdev-mirror` into the destination's NBD exports)",
    undo: "cancelMirrors",
    deadlineMs: 10_000,
    withoutJournal: "refused",
  },
  start: {
    step: "perform",
    side: "source",
    does: "sets capabilities and limits, then sends `migrate`",
    undo: "cancel",
    deadlineMs: 10_000,
    withoutJournal: "refused",
  },
  setLimits: {
    step: "perform",
    side: "source",
    does: "changes bandwidth and maximum downtime of the running migration",
    undo: "restore",
    deadlineMs: 5_000,
    withoutJournal: "goes on",
  },
  announcePostcopy: {
    step: "perform",
    side: "source",
    does: "announces to the destination that post-copy may start, so that it gives up only when the source tells it to",
    undo: "retractPostcopy",
    deadlineMs: 5_000,
    withoutJournal: "refused",
  },
  startPostcopy: {
    step: "perform",
    side: "source",
    does: "switches QEMU to post-copy (`migrate-start-postcopy`)",
    undo: "cancel",
    deadlineMs: 5_000,
    withoutJournal: "goes on",
  },
  completeMirrors: {
    step: "perform",
    side: "source",
    does: "completes the disk mirrors, now in sync (`block-job-cancel` of a mirror that is ready)",
    undo: "cancelMirrors",
    deadlineMs: 10_000,
    withoutJournal: "goes on",
  },
  relaxLimits: {
    step: "perform",
    side: "source",
    does: "changes the limits of the running migration because a rule of the convergence policy is due",
    undo: "restore",
    deadlineMs: 5_000,
    withoutJournal: "goes on",
  },
  throttle: {
    step: "perform",
    side: "source",
    does: "throttles the guest's vCPUs because a rule of the convergence policy is due",
    undo: "restore",
    deadlineMs: 5_000,
    withoutJournal: "goes on",
  },
  suspend: {
    step: "perform",
    side: "source",
    does: "suspends the guest (`stop`) so that its memory converges, because a rule is due; it resumes on the side where the migration ends",
    undo: "restore",
    deadlineMs: 5_000,
    withoutJournal: "goes on",
  },
  continue: {
    step: "perform",
    side: "source",
    does: "lets QEMU send the device state (`migrate-continue`)",
    undo: "cancel",
    deadlineMs: 10_000,
    withoutJournal: "goes on",
  },
  cancel: {
    step: "perform",
    side: "source",
    does: "cancels the migration and waits until QEMU reports how it ended",
    undo: "is an undo",
    deadlineMs: 5_000,
    withoutJournal: "goes on",
  },
  forceCancel: {
    step: "perform",
    side: "source",
    does: "unblocks a cancel that hangs: `migrate-continue` from cancelling, then yank out of band",
    undo: "is an undo",
    deadlineMs: 5_000,
    withoutJournal: "goes on",
  },
  restore: {
    step: "confirm",
    side: "source",
    does: "resumes the guest if it ran before, and restores QEMU's migration settings",
    undo: "is an undo",
    deadlineMs: 10_000,
    withoutJournal: "goes on",
  },
  cancelMirrors: {
    step: "confirm",
    side: "source",
    does: "cancels the remaining disk mirrors",
    undo: "is an undo",
    deadlineMs: 10_000,
    withoutJournal: "goes on",
  },
  retractPostcopy: {
    step: "confirm",
    side: "source",
    does: "informs the destination that the guest stays, after post-copy was announced",
    undo: "is an undo",
    deadlineMs: 5_000,
    withoutJournal: "goes on",
  },
  handOver: {
    step: "perform",
    side: "source",
    does: "in post-copy, makes the destination take the guest while the source serves its memory",
    undo: "cannot be undone",
    deadlineMs: 15_000,
    withoutJournal: "refused",
  },
  pausePostcopy: {
    step: "perform",
    side: "source",
    does: "drops a post-copy connection on which no data is transferred (`migrate-pause`)",
    undo: "reconnect",
    deadlineMs: 5_000,
    withoutJournal: "goes on",
  },
  reconnect: {
    step: "perform",
    side: "source",
    does: "makes the destination listen again for a post-copy that lost its connection",
    undo: "nothing to undo",
    deadlineMs: 15_000,
    withoutJournal: "goes on",
  },
  resumePostcopy: {
    step: "perform",
    side: "source",
    does: "reconnects a post-copy (`migrate` with `resume`)",
    undo: "nothing to undo",
    deadlineMs: 10_000,
    withoutJournal: "goes on",
  },
  probeSource: {
    step: "perform",
    side: "source",
    does: "queries the state of QEMU's migration after the engine was down",
    undo: "nothing to undo",
    deadlineMs: 5_000,
    withoutJournal: "goes on",
  },
  settle: {
    step: "settle",
    side: "source",
    does: "asks the destination whether it has taken the guest",
    undo: "nothing to undo",
    deadlineMs: 5_000,
    withoutJournal: "goes on",
  },
  fence: {
    step: "settle",
    side: "source",
    does: "fences the destination off, unless it has claimed the guest",
    undo: "cannot be undone",
    deadlineMs: 10_000,
    withoutJournal: "refused",
  },
  concede: {
    step: "settle",
    side: "source",
    does: "informs the destination that the source's QEMU is dead, so that it takes the guest if it holds the guest complete",
    undo: "cannot be undone",
    deadlineMs: 15_000,
    withoutJournal: "goes on",
  },
  killSource: {
    step: "confirm",
    side: "source",
    does: "ends the source's QEMU and waits until it is reaped",
    undo: "cannot be undone",
    deadlineMs: 15_000,
    withoutJournal: "goes on",
  },
  prepare: {
    step: "prepare",
    side: "destination",
    does: "creates missing images, starts QEMU with -S -incoming defer, exports the disks to be mirrored, and listens",
    undo: "killDestination",
    deadlineMs: 30_000,
    withoutJournal: "refused",
  },
  probeDestination: {
    step: "finish",
    side: "destination",
    does: "queries the state of the incoming stream after the engine was down",
    undo: "nothing to undo",
    deadlineMs: 5_000,
    withoutJournal: "goes on",
  },
  listenAgain: {
    step: "perform",
    side: "destination",
    does: "listens again for a post-copy that lost its connection (`migrate-pause` when QEMU has not noticed, `migrate-recover`)",
    undo: "nothing to undo",
    deadlineMs: 10_000,
    withoutJournal: "goes on",
  },
  claim: {
    step: "finish",
    side: "destination",
    does: "claims the guest at the fence, so that the source can no longer take it back",
    undo: "disclaim",
    deadlineMs: 10_000,
    withoutJournal: "refused",
  },
  disclaim: {
    step: "finish",
    side: "destination",
    does: "releases the claim at the fence",
    undo: "is an undo",
    deadlineMs: 10_000,
    withoutJournal: "goes on",
  },
  take: {
    step: "finish",
    side: "destination",
    does: "makes the decision to take the guest durable, then resumes it (`cont`) unless it was paused before",
    undo: "cannot be undone",
    deadlineMs: 10_000,
    withoutJournal: "refused",
  },
  resume: {
    step: "finish",
    side: "destination",
    does: "resumes the guest when it is unknown whether it runs",
    undo: "cannot be undone",
    deadlineMs: 10_000,
    withoutJournal: "goes on",
  },
  recordRefusal: {
    step: "finish",
    side: "destination",
    does: "makes the decision never to run this copy durable",
    undo: "is an undo",
    deadlineMs: 10_000,
    withoutJournal: "refused",
  },
  killDestination: {
    step: "finish",
    side: "destination",
    does: "ends the destination's QEMU and waits until it is reaped",
    undo: "is an undo",
    deadlineMs: 15_000,
    withoutJournal: "goes on",
  },
} as const satisfies Record<EffectName, Effect>;
