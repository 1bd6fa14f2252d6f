// The questions that the parties ask one another, and the event that each one becomes at the receiving side. The
// in-process peers, the simulated world and the inspector all use this table, so that they agree on one protocol.

interface Question {
  readonly from: "coordinator" | "source";
  readonly to: "source" | "destination";
  /** The event that it becomes at the receiver; null when the question starts that side. */
  readonly event: string | null;
  readonly says: string;
}

export const questionTable = {
  askBegin: { from: "coordinator", to: "source", event: null, says: "Begin" },
  askPrepare: { from: "coordinator", to: "destination", event: null, says: "Prepare" },
  askPerform: { from: "coordinator", to: "source", event: "coordinator.performRequested", says: "Perform" },
  askAbort: { from: "coordinator", to: "source", event: "operator.aborted", says: "abort" },
  askFinish: { from: "coordinator", to: "destination", event: "coordinator.finishRequested", says: "Finish" },
  askFinishCancelled: {
    from: "coordinator",
    to: "destination",
    event: "coordinator.finishCancelledRequested",
    says: "Finish, cancelled",
  },
  askConfirm: { from: "coordinator", to: "source", event: "coordinator.confirmRequested", says: "Confirm" },
  askConfirmCancelled: {
    from: "coordinator",
    to: "source",
    event: "coordinator.confirmCancelledRequested",
    says: "Confirm, cancelled",
  },
  settle: {
    from: "source",
    to: "destination",
    event: "source.settleRequested",
    says: "settle: taken or refused?",
  },
  retractPostcopy: {
    from: "source",
    to: "destination",
    event: "source.settleRequested",
    says: "the guest stays: refuse",
  },
  concede: {
    from: "source",
    to: "destination",
    event: "source.conceded",
    says: "the source's QEMU is dead: take the guest if it is complete",
  },
  announcePostcopy: {
    from: "source",
    to: "destination",
    event: "source.announced",
    says: "post-copy may start",
  },
  handOver: {
    from: "source",
    to: "destination",
    event: "source.handedOver",
    says: "post-copy: take the guest",
  },
  reconnect: {
    from: "source",
    to: "destination",
    event: "source.reconnectRequested",
    says: "post-copy: listen again",
  },
} as const satisfies Record<string, Question>;

export type PeerQuestion = keyof typeof questionTable;

export const isPeerQuestion = (effect: string): effect is PeerQuestion =>
  Object.hasOwn(questionTable, effect);
