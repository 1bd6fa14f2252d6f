// What a migration knows of its own steps at the destination, and the question whether its guest has arrived there. Upholds
// G1 and G3: the conclusion is protocol/evidence.ts's, and one that is certain is kept.

import { type Conclusion, conclude, type Evidence, type Seen } from "../../../protocol/evidence.js";
import type { Decision, Identity } from "../../../protocol/messages.js";
import type { RpcConnection } from "../rpc/client.js";
import { LibvirtError } from "../rpc/libvirt-error.js";
import { decisions, own } from "../rpc/switchover-program.js";
import { activeAt, seenAt } from "./locate-domain.js";

const answerMs = 4_500;

/** What has been asked of the destination, as far as its guest can run because of it. */
export interface Steps {
  prepare: Evidence["prepare"];
  finish: Evidence["finish"];
  /** Of a libvirtd; null when it was not seen. */
  incomingId: number | null;
  /** Under which a switchoverd knows the migration; null at a libvirtd. */
  idThere: string | null;
  /** Certain, and never taken back. */
  concluded: Decision | "lost" | null;
}

export const noSteps = (): Steps => ({
  prepare: "unsent",
  finish: "unsent",
  incomingId: null,
  idThere: null,
  concluded: null,
});

export type Mode = Pick<Evidence, "protocol" | "postcopy">;

/** Asks over `rpc`, which may be a new connection. @throws what a call over a connection throws. */
export async function arrivalAt(
  rpc: RpcConnection,
  steps: Steps,
  identity: Identity,
  mode: Mode,
  signal: AbortSignal,
): Promise<Conclusion> {
  // What has been taken in post-copy can still be lost.
  const isFinal = steps.concluded !== "taken" || !mode.postcopy;
  if (steps.concluded !== null && isFinal) return steps.concluded;
  const { incomingId, idThere } = steps;
  const peer =
    idThere === null
      ? ({ kind: "libvirtd", incomingId } as const)
      : {
          kind: "switchoverd" as const,
          settled:
            (steps.concluded === "taken" ? "taken" : null) ??
            (await settledAt(rpc, { ...identity, migrationId: idThere }, signal)),
        };
  const seen = await seenAt(rpc, identity.uuid, signal).catch((error: unknown): Seen => {
    if (error instanceof LibvirtError) return { at: "unanswered" };
    throw error;
  });
  // As they are now: Finish may have been asked while the destination answered.
  const { prepare, finish } = steps;
  const conclusion = conclude({ ...mode, peer, prepare, finish, seen });
  if (conclusion !== "unknown") steps.concluded = conclusion;
  return conclusion;
}

/** libvirt's id of the domain that Prepare has made, by which it is known again; null where it is not shown. */
export async function incomingIdAt(
  rpc: RpcConnection,
  uuid: string,
  signal: AbortSignal,
): Promise<number | null> {
  try {
    return (await activeAt(rpc, uuid, signal))?.id ?? null;
  } catch {
    // Without it the migration goes on; after a lost answer there is less evidence.
    return null;
  }
}

/** Null when the host does not answer this question, or not to this caller. */
async function settledAt(
  rpc: RpcConnection,
  identity: Identity,
  signal: AbortSignal,
): Promise<Decision | null> {
  try {
    const { decision } = await rpc.call(own.procedures.settle, identity, { deadlineMs: answerMs, signal });
    if (decision === decisions.taken) return "taken";
    return decision === decisions.refused ? "refused" : null;
  } catch (error) {
    if (error instanceof LibvirtError) return null;
    throw error;
  }
}
