// What the parties ask one another, and the event that each question becomes at the side that is asked. The peers in one
// process, the simulated world and the inspector all read this table, so that they speak of one protocol.

interface Question {
  readonly from: "coordinator" | "source";
  readonly to: "source" | "destination";
  /** The event that it becomes there; null when the side is begun by it. */
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
    says: "the guest stays: refuse it",
  },
  concede: {
    from: "source",
    to: "destination",
    event: "source.conceded",
    says: "my QEMU is dead: take it if you hold it whole",
  },
  announcePostcopy: {
    from: "source",
    to: "destination",
    event: "source.announced",
    says: "post-copy may begin",
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
