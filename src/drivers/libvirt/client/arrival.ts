// Records a migration's own steps at the destination, and determines whether its guest has arrived there. Upholds G1 and G3:
// protocol/evidence.ts draws the conclusion, and a certain conclusion is kept.

import { type Conclusion, conclude, type Evidence, type Seen } from "../../../protocol/evidence.js";
import type { Decision, Identity } from "../../../protocol/messages.js";
import type { RpcConnection } from "../rpc/client.js";
import { LibvirtError } from "../rpc/libvirt-error.js";
import { decisions, own } from "../rpc/switchover-program.js";
import { activeAt, seenAt } from "./locate-domain.js";

const answerMs = 4_500;

/** The requests sent to the destination that can make it run the guest. */
export interface Steps {
  prepare: Evidence["prepare"];
  finish: Evidence["finish"];
  /** The incoming domain's id at a libvirtd; null when it was not seen. */
  incomingId: number | null;
  /** The id under which a switchoverd knows the migration; null at a libvirtd. */
  idThere: string | null;
  /** A certain conclusion, which never changes, except that a guest taken in post-copy can be lost. */
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

/** Queries the destination over `rpc`, which may be a new connection. @throws the errors of an RPC call. */
export async function arrivalAt(
  rpc: RpcConnection,
  steps: Steps,
  identity: Identity,
  mode: Mode,
  signal: AbortSignal,
): Promise<Conclusion> {
  // A guest that was taken in post-copy can still be lost.
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
  // Read the steps only now: Finish may have been sent while the destination answered.
  const { prepare, finish } = steps;
  const conclusion = conclude({ ...mode, peer, prepare, finish, seen });
  if (conclusion !== "unknown") steps.concluded = conclusion;
  return conclusion;
}

/** Returns libvirt's id of the domain that Prepare created, which identifies it later; null when the host does not report it. */
export async function incomingIdAt(
  rpc: RpcConnection,
  uuid: string,
  signal: AbortSignal,
): Promise<number | null> {
  try {
    return (await activeAt(rpc, uuid, signal))?.id ?? null;
  } catch {
    // The migration can continue without the id; there is less evidence if an answer is lost later.
    return null;
  }
}

/** Returns null when the host does not support this query, or refuses it to this caller. */
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
