// Commands of an operator to a running source, and its machine's replies.

import { waitFor } from "xstate";
import type { SourceActor } from "../effects/in-process-peers.js";
import type { Notice } from "../machines/shared/actions.js";
import { stateName } from "../machines/shared/walk.js";
import type { Limits } from "../protocol/convergence/limits.js";

export interface Tuned {
  readonly applied: boolean;
  readonly why: string;
}

/** Switches to post-copy; resolves when QEMU has accepted the command, or it was refused. */
export async function askForPostcopy(source: SourceActor): Promise<Tuned> {
  const asked = "operator.postcopyRequested";
  if (isProbing(source.getSnapshot())) await hasProbed(source);
  if (source.getSnapshot().status !== "active") return { applied: false, why: "the migration has ended" };
  const refusal = firstAside(source, (aside) => aside.type === "refused" && aside.event === asked);
  source.send({ type: asked });
  const told = waitFor(
    source,
    (snapshot) =>
      stateName(snapshot).includes("postcopy.asked") ||
      !snapshot.matches({ transferring: { sending: "precopying" } }),
  ).then(() => undefined);
  const refused = await Promise.race([refusal, told]);
  return refused?.type === "refused"
    ? { applied: false, why: refused.why }
    : { applied: true, why: "QEMU switches to post-copy as soon as it can" };
}

/**
 * Changes the limits of the migration under way; resolves when QEMU has applied them, or they were refused. Before the stream
 * has begun they are accepted at once, and QEMU receives them with all other parameters.
 */
export async function askForLimits(source: SourceActor, limits: Partial<Limits>): Promise<Tuned> {
  const asked = "operator.tuned";
  // Sent in this turn unless the engine is still probing: limits that precede Perform apply from the start.
  if (isProbing(source.getSnapshot())) await hasProbed(source);
  if (source.getSnapshot().status !== "active") return { applied: false, why: "the migration has ended" };
  const said = firstAside(
    source,
    (aside) => aside.type === "tuned" || (aside.type === "refused" && aside.event === asked),
  );
  source.send({ type: asked, limits });
  if (["begun", "suspended", "starting"].includes(stateName(source.getSnapshot())))
    return { applied: true, why: "applied from the start" };
  // The migration may leave this state without having changed the limits.
  const left = waitFor(source, (snapshot) => !stateName(snapshot).includes("limits.applying"));
  const answer = await Promise.race([said, left.then(() => undefined)]);
  if (answer?.type === "tuned") return { applied: true, why: "QEMU has applied the limits" };
  return {
    applied: false,
    why: answer?.type === "refused" ? answer.why : "memory is no longer being sent",
  };
}

/** Whether a restarted engine does not know yet how far its migration is, so that its machine rejects commands. */
const isProbing = (snapshot: ReturnType<SourceActor["getSnapshot"]>): boolean =>
  snapshot.matches("rehydrating") || snapshot.matches({ transferring: { sending: "probing" } });

const hasProbed = (source: SourceActor): Promise<unknown> =>
  waitFor(source, (snapshot) => !isProbing(snapshot));

interface SpeaksAside {
  on(type: "*", listener: (aside: Notice) => void): { unsubscribe(): void };
  subscribe(observer: { complete(): void }): { unsubscribe(): void };
}

/** Returns the first notice that matches; undefined when the actor ends before it. */
export function firstAside(
  actor: SpeaksAside,
  fits: (aside: Notice) => boolean,
): Promise<Notice | undefined> {
  return new Promise((resolve) => {
    const listening = actor.on("*", (aside) => {
      if (fits(aside)) end(aside);
    });
    const ending = actor.subscribe({ complete: () => end(undefined) });
    const end = (aside: Notice | undefined) => {
      listening.unsubscribe();
      ending.unsubscribe();
      resolve(aside);
    };
  });
}
