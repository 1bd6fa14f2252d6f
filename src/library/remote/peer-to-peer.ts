// The client's side of a migration that the source host coordinates (peer-to-peer). A switchoverd is asked by migration id,
// repeatedly if the connection breaks; with a libvirtd, the client derives the outcome from the state of both hosts. The client
// decides nothing: the hosts continue without it.

import { bitsOf, toParameters } from "../../drivers/libvirt/client/flags.js";
import { locateDomain, seenAt } from "../../drivers/libvirt/client/locate-domain.js";
import { featuresOf, negotiateUnmanaged } from "../../drivers/libvirt/client/negotiation.js";
import { abortAt } from "../../drivers/libvirt/client/peers.js";
import { performPeerToPeer } from "../../drivers/libvirt/client/protocol-calls.js";
import type { Redial } from "../../drivers/libvirt/client/reconnecting-client.js";
import type { RpcConnection } from "../../drivers/libvirt/rpc/client.js";
import { errorCodes, errorDomains, LibvirtError } from "../../drivers/libvirt/rpc/libvirt-error.js";
import { moveEnds, own } from "../../drivers/libvirt/rpc/switchover-program.js";
import { sleep } from "../../effects/sleep.js";
import { withLimit } from "../../effects/within.js";
import { cause, messageOf } from "../../protocol/effect-result.js";
import { type Conclusion, conclude, type Seen } from "../../protocol/evidence.js";
import { failure } from "../../protocol/failure.js";
import { MigrationError } from "../../protocol/migration-error.js";
import { type OutcomeKind, outcomes } from "../../protocol/outcomes.js";
import type { Led, RemoteMove, RemoteOutcome } from "./types.js";

const lookAgainMs = 200;
/** Within this time a restarted host is back and has settled. */
const patienceMs = 60_000;
const answerMs = 10_000;

/** @throws LibvirtError when the source does not support the request; in that case nothing has been changed. */
export async function leadBySource(move: RemoteMove): Promise<Led> {
  const { source, destination, dom, asked } = move;
  const protocol = negotiateUnmanaged(await featuresOf(await source.rpc()), destination.uri, asked);
  const isKnownById = protocol === "version 3 with parameters" && !asked.flags.has("OFFLINE");
  let wasAborted = false;
  const ended = async (): Promise<RemoteOutcome> =>
    (isKnownById ? await outcomeById(move, () => wasAborted) : null) ?? outcomeOfPerform(move, protocol);
  return {
    outcome: ended(),
    abort: async () => {
      const answer = await withLimit(move.clock, answerMs, (signal) => abortAt(source, dom, signal));
      if (answer.kind !== "done") return { accepted: false, why: answer.cause.message };
      wasAborted ||= answer.value.accepted;
      return answer.value;
    },
  };
}

/**
 * Begins the migration under its id, and asks until the source host has reported how it ended. Returns null when that host
 * does not have this procedure, such as a libvirtd; in that case nothing has begun.
 */
async function outcomeById(
  { source, destination, dom, asked, clock, migrationId }: RemoteMove,
  wasAborted: () => boolean,
): Promise<RemoteOutcome | null> {
  const request = {
    migrationId,
    uuid: dom.uuid,
    destinationUri: destination.uri,
    params: toParameters(asked.parameters),
    flags: bitsOf(asked.flags),
  };
  let deadlineMs = Number.POSITIVE_INFINITY;
  let endMs: number | undefined;
  for (;;) {
    try {
      const { end, why } = await source.call(own.procedures.move, request, { deadlineMs });
      const answered = rejected(why);
      if (end === moveEnds.arrived) return outcomeOf("arrived", null);
      if (end === moveEnds.lost) return outcomeOf("lost", answered);
      return outcomeOf(wasAborted() ? "aborted" : "stayed", answered);
    } catch (error) {
      if (error instanceof LibvirtError && error.code === errorCodes.RPC) return null;
      endMs ??= clock.now() + patienceMs;
      deadlineMs = endMs - clock.now();
      if (deadlineMs <= 0) return outcomeOf("undecided", error);
    }
    await sleep(clock, lookAgainMs);
  }
}

const rejected = (message: string): LibvirtError =>
  new LibvirtError({ code: errorCodes.OPERATION_FAILED, domain: errorDomains.QEMU, message });

async function outcomeOfPerform(
  move: RemoteMove,
  protocol: ReturnType<typeof negotiateUnmanaged>,
): Promise<RemoteOutcome> {
  const { source, destination, dom, asked } = move;
  const incoming = await watchIncoming(move);
  try {
    await performPeerToPeer(protocol, source, {
      dom,
      parameters: asked.parameters,
      flags: bitsOf(asked.flags),
      destinationUri: destination.uri,
      options: { deadlineMs: Number.POSITIVE_INFINITY },
    });
    return outcomeOf("arrived", null);
  } catch (error) {
    incoming.stop();
    return outcomeOf(await whereItIs(move, incoming.id(), error), error);
  } finally {
    incoming.stop();
  }
}

function outcomeOf(kind: OutcomeKind, error: unknown): RemoteOutcome {
  const { runs } = outcomes[kind];
  if (kind === "arrived") return { kind, runs, error: null };
  const code = error instanceof LibvirtError ? (kind === "aborted" ? "aborted" : "rejected") : "unanswered";
  const first = failure(code, "perform", "source", cause(messageOf(error)));
  return { kind, runs, error: new MigrationError(kind, [first], []) };
}

/** Finds the libvirt id of the incoming domain at the destination, if no domain with that uuid was active there before. */
async function watchIncoming({ destination, dom, clock }: RemoteMove) {
  let id: number | null = null;
  let stopped = false;
  const look = () => ask(destination, (rpc) => seenAt(rpc, dom.uuid, forever));
  const watch = async () => {
    while (!stopped && id === null) {
      const seen = await look();
      if (!stopped && seen?.at === "active" && seen.is !== "running") id = seen.id;
      await sleep(clock, lookAgainMs);
    }
  };
  if ((await look())?.at === "absent") void watch();
  return {
    id: () => id,
    stop: () => {
      stopped = true;
    },
  };
}

/** Queries both hosts until the migration has ended on them. */
async function whereItIs(
  { source, destination, dom, asked, clock }: RemoteMove,
  incomingId: number | null,
  error: unknown,
): Promise<OutcomeKind> {
  const isAnswered = error instanceof LibvirtError && error.code !== errorCodes.OPERATION_TIMEOUT;
  // For an offline migration the source itself reports whether its definition was moved.
  if (asked.flags.has("OFFLINE")) return isAnswered ? "stayed" : "undecided";
  const wasAborted = error instanceof LibvirtError && error.code === errorCodes.OPERATION_ABORTED;
  const endMs = clock.now() + patienceMs;
  while (clock.now() < endMs) {
    const found = await ask(source, (rpc) => locateDomain(rpc, dom.uuid, forever));
    if (found === "stayed") return wasAborted ? "aborted" : "stayed";
    if (found === "lost") return "lost";
    if (found === "left") {
      const seen = await ask(destination, (rpc) => seenAt(rpc, dom.uuid, forever));
      const there = concludedThere(asked, incomingId, seen ?? { at: "unanswered" });
      if (there === "taken") return "arrived";
      // The source host has reported a failure, and its guest has ended.
      if (there === "lost" || (isAnswered && seen?.at === "absent")) return "lost";
    }
    await sleep(clock, lookAgainMs);
  }
  return "undecided";
}

/** A client does not know which steps the destination has received from the source host, so Finish counts as unanswered. */
const concludedThere = ({ flags }: RemoteMove["asked"], incomingId: number | null, seen: Seen): Conclusion =>
  conclude({
    peer: { kind: "libvirtd", incomingId },
    protocol: 3,
    postcopy: flags.has("POSTCOPY"),
    prepare: "done",
    finish: "unanswered",
    seen,
  });

/** Returns null without an answer. */
const ask = <T>(host: Redial, question: (rpc: RpcConnection) => Promise<T | null>): Promise<T | null> =>
  host
    .rpc()
    .then(question)
    .catch(() => null);

const forever = new AbortController().signal;
