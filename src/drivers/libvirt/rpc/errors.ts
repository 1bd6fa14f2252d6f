// What can go wrong on a connection. A caller tells "it has had no effect" (RpcUnsentError, RpcConnectError) from "no
// answer, so it may have had its effect" (timeout, given up, disconnect); LibvirtError is the peer's own answer.

import { messageOf } from "../../../protocol/effect-result.js";

/** Base of all of them. */
export class RpcError extends Error {
  override readonly name: string = "RpcError";
}

/** The address cannot be used, or nobody there let us in. */
export class RpcConnectError extends RpcError {
  override readonly name = "RpcConnectError";
}

/** Nobody can be let in there. */
export class RpcListenError extends RpcError {
  override readonly name = "RpcListenError";
}

/** The peer does not speak the protocol as documented. */
export class RpcProtocolError extends RpcError {
  override readonly name = "RpcProtocolError";
}

/** The connection was gone, or nobody waited any more, before the call could be sent: it has had no effect. */
export class RpcUnsentError extends RpcError {
  override readonly name = "RpcUnsentError";
  constructor(
    readonly procedure: string,
    why: unknown,
  ) {
    super(`${procedure} was not sent: ${messageOf(why)}`, { cause: why });
  }
}

/** The connection ended: calls without an answer may have had their effect. */
export class RpcDisconnectedError extends RpcError {
  override readonly name: string = "RpcDisconnectedError";
}

/** This side ended the connection: the peer does not read, and more waits for it than may wait. */
export class RpcUnreadError extends RpcDisconnectedError {
  override readonly name = "RpcUnreadError";
}

/** No answer in time: the call may have had its effect, and its answer may still come. */
export class RpcTimeoutError extends RpcError {
  override readonly name = "RpcTimeoutError";
  constructor(
    readonly procedure: string,
    readonly deadlineMs: number,
  ) {
    super(`${procedure} was not answered within ${deadlineMs} ms`);
  }
}

/** The caller's signal ended the wait for an answer: the call may have had its effect. */
export class RpcGivenUpError extends RpcError {
  override readonly name = "RpcGivenUpError";
  constructor(
    readonly procedure: string,
    why: unknown,
  ) {
    super(`the answer to ${procedure} is not waited for any more`, { cause: why });
  }
}

/** The other side has broken the stream off, without a word why. */
export class RpcStreamAbortedError extends RpcError {
  override readonly name = "RpcStreamAbortedError";
}
