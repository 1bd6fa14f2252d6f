// A migration that the source's host leads (peer-to-peer), as its client sees it: it asks, looks on, and, when there is no
// good answer, looks where the guest is. It decides nothing: the hosts go on without it.

import { decisionAt, whereaboutsAt } from "./drivers/libvirt/decision.js";
import { bitsOf } from "./drivers/libvirt/flags.js";
import { featuresOf, negotiateUnmanaged } from "./drivers/libvirt/negotiation.js";
import { abortAt } from "./drivers/libvirt/peers.js";
import type { Redial } from "./drivers/libvirt/redial.js";
import { performPeerToPeer } from "./drivers/libvirt/step-calls.js";
import type { RpcConnection } from "./drivers/libvirt-rpc/client.js";
import { errorCodes, LibvirtError } from "./drivers/libvirt-rpc/libvirt-error.js";
import { pause } from "./effects/pause.js";
import { cause, messageOf } from "./protocol/answer.js";
import { MigrationError } from "./protocol/errors.js";
import { failure } from "./protocol/failures.js";
import { type OutcomeKind, outcomes } from "./protocol/outcomes.js";
import type { Led, RemoteMove, RemoteOutcome } from "./remote-move.js";

const lookAgainMs = 200;
/** A host that has been restarted is back by then, and has settled. */
const patienceMs = 60_000;
const answerMs = 10_000;

/** @throws LibvirtError when the source cannot do what is asked; nothing has been touched then. */
export async function leadBySource(move: RemoteMove): Promise<Led> {
  const { source, destination, dom, asked } = move;
  const protocol = negotiateUnmanaged(await featuresOf(await source.rpc()), destination.uri, asked);
  const ended = performPeerToPeer(protocol, source, {
    ...{ dom, parameters: asked.parameters, flags: bitsOf(asked.flags), destinationUri: destination.uri },
    options: { deadlineMs: Number.POSITIVE_INFINITY },
  });
  return {
    outcome: ended.then(
      () => outcomeOf("arrived", null),
      async (error: unknown) => outcomeOf(await whereItIs(move, error), error),
    ),
    abort: async () => {
      const answer = await abortAt(source, dom, AbortSignal.timeout(answerMs));
      return answer.kind === "done" ? answer.value : { accepted: false, why: answer.cause.message };
    },
  };
}

function outcomeOf(kind: OutcomeKind, error: unknown): RemoteOutcome {
  const { runs } = outcomes[kind];
  if (kind === "arrived") return { kind, runs, error: null };
  const code = error instanceof LibvirtError ? (kind === "aborted" ? "aborted" : "rejected") : "unanswered";
  const first = failure(code, "perform", "source", cause(messageOf(error)));
  return { kind, runs, error: new MigrationError(kind, [first], []) };
}

/** Asks the hosts until they are done with it. */
async function whereItIs(
  { source, destination, dom, asked, clock }: RemoteMove,
  error: unknown,
): Promise<OutcomeKind> {
  // Of an offline migration the source says itself whether its definition was moved.
  if (asked.flags.has("OFFLINE")) return error instanceof LibvirtError ? "stayed" : "undecided";
  const wasAborted = error instanceof LibvirtError && error.code === errorCodes.OPERATION_ABORTED;
  const endMs = clock.now() + patienceMs;
  while (clock.now() < endMs) {
    const found = await ask(source, (rpc) => whereaboutsAt(rpc, dom.uuid, forever));
    if (found === "stayed") return wasAborted ? "aborted" : "stayed";
    if (found === "lost") return "lost";
    if (found === "left") {
      const there = await ask(destination, (rpc) => decisionAt(rpc, dom.uuid, forever));
      if (there === "taken") return "arrived";
      if (there === "refused") return "lost";
    }
    await pause(clock, lookAgainMs);
  }
  return "undecided";
}

/** Null without an answer. */
const ask = <T>(host: Redial, question: (rpc: RpcConnection) => Promise<T | null>): Promise<T | null> =>
  host
    .rpc()
    .then(question)
    .catch(() => null);

const forever = new AbortController().signal;
