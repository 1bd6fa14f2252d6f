// The protocol as data: the five steps of version 3 and our settle, and the effects that each side runs for
// them, each beside its undo and its deadline. Effects, error texts, the sweep and the printed documentation
// are driven by these tables; the machines own the order.

export type Side = "source" | "destination" | "coordinator";

export type StepName = "begin" | "prepare" | "perform" | "finish" | "confirm" | "settle";

interface Step {
  /** 1 to 5 as in libvirt's protocol version 3; 6 for settle, which libvirt does not have. */
  readonly number: number;
  readonly side: "source" | "destination";
  readonly does: string;
  readonly whenItFails: {
    /** Where the guest is then. */
    readonly guest: string;
    readonly kills: string;
    readonly resumes: string;
  };
  /** How long the coordinator (for settle: the source) waits for the answer before it asks again, in ms. */
  readonly deadlineMs: number;
}

export const steps = {
  begin: {
    number: 1,
    side: "source",
    does: "takes the migration job, checks that the guest can move, describes it",
    whenItFails: {
      guest: "it has not been touched and runs on at the source",
      kills: "nobody: there is no copy",
      resumes: "nobody: it was not paused",
    },
    deadlineMs: 10_000,
  },
  prepare: {
    number: 2,
    side: "destination",
    does: "starts QEMU paused and listening, with the capabilities that both sides need",
    whenItFails: {
      guest: "it runs on at the source",
      kills: "the destination ends the QEMU that it has begun to prepare",
      resumes: "nobody: it was not paused",
    },
    deadlineMs: 60_000,
  },
  perform: {
    number: 3,
    side: "source",
    does: "sends the memory while the guest runs, pauses it, sends the rest",
    whenItFails: {
      guest: "it runs at the source again, as soon as QEMU has said how the cancelled stream ended",
      kills: "the destination, told by a cancelled Finish or by the end of its stream",
      resumes: "the source, unless the destination may have the guest whole: then it settles first",
    },
    deadlineMs: 86_400_000,
  },
  finish: {
    number: 4,
    side: "destination",
    does: "takes the guest and runs it, or kills its copy when the source failed",
    whenItFails: {
      guest: "it is paused at the source until the destination has answered",
      kills: "the destination ends its copy once its refusal is durable; without an answer nobody is ended",
      resumes: "the source when the destination has refused, or the fence has shut it out",
    },
    deadlineMs: 30_000,
  },
  confirm: {
    number: 5,
    side: "source",
    does: "kills the source's copy after the destination has taken the guest, or settles and resumes",
    whenItFails: {
      guest: "it runs at the destination",
      kills: "the source ends its paused copy, tried again until it is gone",
      resumes: "nobody: the guest runs already",
    },
    deadlineMs: 30_000,
  },
  settle: {
    number: 6,
    side: "destination",
    does: "answers the source: taken or refused; refuses for good when it had not decided",
    whenItFails: {
      guest: "it runs at the destination if that has taken it; the source's copy is paused",
      kills: "nobody while the answer is out",
      resumes: "nobody while the answer is out, but by the policies `fence` and `resume`",
    },
    deadlineMs: 5_000,
  },
} as const satisfies Record<StepName, Step>;

/** A person's abort as the coordinator puts it to the source: no step, so nothing is undone when it is not heard. */
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
  /** The effect that takes it back, or why none is needed. */
  readonly undo: EffectName | "nothing to undo" | "is an undo" | "cannot be undone";
  /** After this many milliseconds without an answer the answer is `unknown`. */
  readonly deadlineMs: number;
  /** When the journal fails: `refused` for what begins or decides something, `goes on` for what only ends or undoes. */
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
    does: "asks QEMU for its state, its uuid and its capabilities",
    undo: "nothing to undo",
    deadlineMs: 5_000,
    withoutJournal: "refused",
  },
  mirror: {
    step: "perform",
    side: "source",
    does: "begins to copy the disks (`blockdev-mirror` into the destination's NBD exports)",
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
    does: "tells the destination that post-copy may begin, so that it gives up only when its source says so",
    undo: "retractPostcopy",
    deadlineMs: 5_000,
    withoutJournal: "refused",
  },
  startPostcopy: {
    step: "perform",
    side: "source",
    does: "lets QEMU go over to post-copy (`migrate-start-postcopy`)",
    undo: "cancel",
    deadlineMs: 5_000,
    withoutJournal: "goes on",
  },
  completeMirrors: {
    step: "perform",
    side: "source",
    does: "lets go of the disks' copies, which are equal now (`block-job-cancel` of a mirror that is ready)",
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
    does: "keeps the guest's processors from running for a part of the time, because a rule is due",
    undo: "restore",
    deadlineMs: 5_000,
    withoutJournal: "goes on",
  },
  suspend: {
    step: "perform",
    side: "source",
    does: "pauses the guest (`stop`) so that its memory converges, because a rule is due; it runs on wherever it ends",
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
    does: "cancels the migration and waits for QEMU's word how it ended",
    undo: "is an undo",
    deadlineMs: 5_000,
    withoutJournal: "goes on",
  },
  forceCancel: {
    step: "perform",
    side: "source",
    does: "frees a cancel that hangs: `migrate-continue` from cancelling, then yank out of band",
    undo: "is an undo",
    deadlineMs: 5_000,
    withoutJournal: "goes on",
  },
  restore: {
    step: "confirm",
    side: "source",
    does: "lets the guest run again as before and puts QEMU's migration settings back",
    undo: "is an undo",
    deadlineMs: 10_000,
    withoutJournal: "goes on",
  },
  cancelMirrors: {
    step: "confirm",
    side: "source",
    does: "ends what is left of the copies of the disks",
    undo: "is an undo",
    deadlineMs: 10_000,
    withoutJournal: "goes on",
  },
  retractPostcopy: {
    step: "confirm",
    side: "source",
    does: "tells the destination that the guest stays, after post-copy was announced",
    undo: "is an undo",
    deadlineMs: 5_000,
    withoutJournal: "goes on",
  },
  handOver: {
    step: "perform",
    side: "source",
    does: "in post-copy, has the destination take the guest, whose memory is served from here",
    undo: "cannot be undone",
    deadlineMs: 15_000,
    withoutJournal: "refused",
  },
  pausePostcopy: {
    step: "perform",
    side: "source",
    does: "gives up a connection in post-copy on which nothing moves (`migrate-pause`)",
    undo: "reconnect",
    deadlineMs: 5_000,
    withoutJournal: "goes on",
  },
  reconnect: {
    step: "perform",
    side: "source",
    does: "has the destination listen again for a post-copy that has lost its connection",
    undo: "nothing to undo",
    deadlineMs: 15_000,
    withoutJournal: "goes on",
  },
  resumePostcopy: {
    step: "perform",
    side: "source",
    does: "connects a post-copy again (`migrate` with `resume`)",
    undo: "nothing to undo",
    deadlineMs: 10_000,
    withoutJournal: "goes on",
  },
  probeSource: {
    step: "perform",
    side: "source",
    does: "asks QEMU what became of its migration while the engine was down",
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
    does: "tells the destination that the source's QEMU is dead, so that it takes a guest it holds whole",
    undo: "cannot be undone",
    deadlineMs: 15_000,
    withoutJournal: "goes on",
  },
  killSource: {
    step: "confirm",
    side: "source",
    does: "ends the source's QEMU and sees it reaped",
    undo: "cannot be undone",
    deadlineMs: 15_000,
    withoutJournal: "goes on",
  },
  prepare: {
    step: "prepare",
    side: "destination",
    does: "makes missing images, starts QEMU with -S -incoming defer, exports disks to be copied, listens",
    undo: "killDestination",
    deadlineMs: 30_000,
    withoutJournal: "refused",
  },
  probeDestination: {
    step: "finish",
    side: "destination",
    does: "asks QEMU what became of the stream while the engine was down",
    undo: "nothing to undo",
    deadlineMs: 5_000,
    withoutJournal: "goes on",
  },
  listenAgain: {
    step: "perform",
    side: "destination",
    does: "listens again for a post-copy that has lost its connection (`migrate-pause` when QEMU has not noticed, `migrate-recover`)",
    undo: "nothing to undo",
    deadlineMs: 10_000,
    withoutJournal: "goes on",
  },
  claim: {
    step: "finish",
    side: "destination",
    does: "claims the guest at the fence, so that the source can take it back no more",
    undo: "disclaim",
    deadlineMs: 10_000,
    withoutJournal: "refused",
  },
  disclaim: {
    step: "finish",
    side: "destination",
    does: "gives the guest back at the fence",
    undo: "is an undo",
    deadlineMs: 10_000,
    withoutJournal: "goes on",
  },
  take: {
    step: "finish",
    side: "destination",
    does: "makes the decision to take the guest durable, then runs it (`cont`), unless it was paused before",
    undo: "cannot be undone",
    deadlineMs: 10_000,
    withoutJournal: "refused",
  },
  resume: {
    step: "finish",
    side: "destination",
    does: "runs the guest again, when it is not known whether it runs",
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
    does: "ends the destination's QEMU and sees it reaped",
    undo: "is an undo",
    deadlineMs: 15_000,
    withoutJournal: "goes on",
  },
} as const satisfies Record<EffectName, Effect>;
