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
  askPerform: { from: "coordinator", to: "source", event: "coordinator.performAsked", says: "Perform" },
  askAbort: { from: "coordinator", to: "source", event: "person.aborted", says: "abort" },
  askFinish: { from: "coordinator", to: "destination", event: "coordinator.finishAsked", says: "Finish" },
  askFinishCancelled: {
    from: "coordinator",
    to: "destination",
    event: "coordinator.finishCancelledAsked",
    says: "Finish, cancelled",
  },
  askConfirm: { from: "coordinator", to: "source", event: "coordinator.confirmAsked", says: "Confirm" },
  askConfirmCancelled: {
    from: "coordinator",
    to: "source",
    event: "coordinator.confirmCancelledAsked",
    says: "Confirm, cancelled",
  },
  settle: { from: "source", to: "destination", event: "source.asked", says: "settle: taken or refused?" },
  takeBack: { from: "source", to: "destination", event: "source.asked", says: "the guest stays: refuse it" },
  yield: {
    from: "source",
    to: "destination",
    event: "source.yielded",
    says: "my QEMU is dead: take it if you hold it whole",
  },
  announce: { from: "source", to: "destination", event: "source.announced", says: "post-copy may begin" },
  handOver: {
    from: "source",
    to: "destination",
    event: "source.handedOver",
    says: "post-copy: take the guest",
  },
  reconnect: {
    from: "source",
    to: "destination",
    event: "source.reconnectAsked",
    says: "post-copy: listen again",
  },
} as const satisfies Record<string, Question>;

export type PeerQuestion = keyof typeof questionTable;

export const isPeerQuestion = (effect: string): effect is PeerQuestion =>
  Object.hasOwn(questionTable, effect);
