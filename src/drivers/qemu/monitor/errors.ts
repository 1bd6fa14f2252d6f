// The monitor's errors: what failed, in which command, after which messages. Callers distinguish a QMP error
// (QmpCommandError: the command had no effect) from a missing reply (timeout, disconnect: it may have had its
// effect).

/** One line of the QMP session, cut to 500 characters. */
export interface DialogueLine {
  readonly direction: "sent" | "received";
  readonly atMs: number;
  readonly text: string;
}

/** Base of all monitor errors; `dialogue` holds the last lines exchanged, oldest first. */
export class QmpError extends Error {
  override readonly name: string = "QmpError";
  readonly dialogue: readonly DialogueLine[];
  constructor(message: string, dialogue: readonly DialogueLine[] = [], options?: ErrorOptions) {
    super(message, options);
    this.dialogue = dialogue;
  }
}

/** The monitor could not be reached, or did not greet. */
export class QmpConnectError extends QmpError {
  override readonly name = "QmpConnectError";
}

/** QEMU, or another server at that address, does not speak QMP as documented. */
export class QmpProtocolError extends QmpError {
  override readonly name = "QmpProtocolError";
}

/** QEMU answered with an error: the command had no effect. */
export class QmpCommandError extends QmpError {
  override readonly name = "QmpCommandError";
  constructor(
    readonly command: string,
    readonly errorClass: string,
    readonly description: string,
    dialogue: readonly DialogueLine[],
  ) {
    super(`QEMU rejected ${command}: ${description}`, dialogue);
  }
}

/** No answer in time: the command may have had its effect, and its answer may still come. */
export class QmpTimeoutError extends QmpError {
  override readonly name = "QmpTimeoutError";
  constructor(
    readonly command: string,
    readonly limitMs: number,
    dialogue: readonly DialogueLine[],
  ) {
    super(`QEMU did not answer ${command} within ${limitMs} ms`, dialogue);
  }
}

/** The monitor closed: commands without an answer may have had their effect. */
export class QmpDisconnectedError extends QmpError {
  override readonly name = "QmpDisconnectedError";
}

/** The monitor was gone before the command could be sent: it has had no effect. */
export class QmpUnsentError extends QmpError {
  override readonly name = "QmpUnsentError";
}
