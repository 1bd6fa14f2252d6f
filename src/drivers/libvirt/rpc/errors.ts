// Errors of connections. They separate "the call had no effect" (RpcUnsentError, RpcConnectError) from "no answer, so the
// call may have had an effect" (timeout, given up, disconnect); LibvirtError is the peer's own answer.

import { messageOf } from "../../../protocol/effect-result.js";

/** Base class of all RPC errors. */
export class RpcError extends Error {
  override readonly name: string = "RpcError";
}

/** The address cannot be used, or the server did not accept the connection. */
export class RpcConnectError extends RpcError {
  override readonly name = "RpcConnectError";
}

/** The server cannot listen at that address. */
export class RpcListenError extends RpcError {
  override readonly name = "RpcListenError";
}

/** The peer violates the protocol. */
export class RpcProtocolError extends RpcError {
  override readonly name = "RpcProtocolError";
}

/** The connection ended, or the caller gave up, before the call was sent: it had no effect. */
export class RpcUnsentError extends RpcError {
  override readonly name = "RpcUnsentError";
  constructor(
    readonly procedure: string,
    why: unknown,
  ) {
    super(`${procedure} was not sent: ${messageOf(why)}`, { cause: why });
  }
}

/** The connection ended: calls without an answer may have had an effect. */
export class RpcDisconnectedError extends RpcError {
  override readonly name: string = "RpcDisconnectedError";
}

/** This side ended the connection: the peer does not read, and the queue limit is exceeded. */
export class RpcUnreadError extends RpcDisconnectedError {
  override readonly name = "RpcUnreadError";
}

/** No answer in time: the call may have had an effect, and the answer may still arrive. */
export class RpcTimeoutError extends RpcError {
  override readonly name = "RpcTimeoutError";
  constructor(
    readonly procedure: string,
    readonly deadlineMs: number,
  ) {
    super(`${procedure} was not answered within ${deadlineMs} ms`);
  }
}

/** The caller's signal ended the wait for an answer: the call may have had an effect. */
export class RpcGivenUpError extends RpcError {
  override readonly name = "RpcGivenUpError";
  constructor(
    readonly procedure: string,
    why: unknown,
  ) {
    super(`the caller gave up waiting for the answer to ${procedure}`, { cause: why });
  }
}

/** The peer aborted the stream without a reason. */
export class RpcStreamAbortedError extends RpcError {
  override readonly name = "RpcStreamAbortedError";
}
