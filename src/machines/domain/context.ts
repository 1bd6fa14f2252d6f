// The parts of the domain machine: its events, context, effects and actions. The order of its states is in
// machine.ts.

import { assign, emit, fromPromise, setup } from "xstate";
import type { Answer } from "../../protocol/effect-result.js";
import { type Notice, present, unbound } from "../shared/actions.js";

/** The state of a guest on this host, as a completed migration leaves it or a restarted host finds it. */
export type Found =
  | { readonly left: "running" | "paused" | "nothing" }
  /** The guest runs on another host, and its definition remains here. */
  | { readonly left: "away" }
  /** The guest was lost in post-copy: the remaining QEMU lacks memory that no host sends any more. */
  | { readonly left: "broken" }
  /** This host cannot attribute the remains, for the reason in `why`; `elsewhere`: another host may run the guest. */
  | { readonly left: "unknown"; readonly why: string; readonly elsewhere?: boolean };

export type DomainEvent =
  /** `xml`: the domain to start, which may differ from its persistent definition. */
  | { type: "operator.startRequested"; paused: boolean; xml: string }
  | { type: "operator.suspendRequested" }
  | { type: "operator.resumeRequested" }
  | { type: "operator.resetRequested" }
  | { type: "operator.shutdownRequested" }
  | { type: "operator.destroyRequested" }
  | { type: "operator.defineRequested" }
  | { type: "operator.undefineRequested" }
  | { type: "operator.autostartRequested" }
  /** An operator releases what this host cannot attribute: from then on no guest is here. */
  | { type: "operator.releaseRequested" }
  /** An operator decides that the copy on this host is the guest, where this host cannot know it. */
  | { type: "operator.adoptRequested" }
  | { type: "peer.beginRequested"; migrationId: string }
  | { type: "peer.prepareRequested"; migrationId: string }
  /** Another host runs the guest and migrates it here: a start in progress would make a second copy. */
  | { type: "peer.runsGuest" }
  /** The host to which the guest left has, at this host's request, recorded that the guest is away from it. */
  | { type: "peer.conceded" }
  /** A host from which the guest came requests it back, in order to start it there. */
  | { type: "peer.concedeRequested" }
  /** A restarted host continues a migration. */
  | { type: "migration.recovered"; migrationId: string; direction: "out" | "in" }
  | { type: "migration.ended"; migrationId: string; found: Found }
  /** The other host of a migration in progress cannot tell who runs the guest, and later it can. */
  | { type: "migration.undecided"; why: string }
  | { type: "migration.decided" }
  | { type: "host.examined"; found: Found }
  | { type: "monitor.stopped" }
  | { type: "monitor.resumed" }
  | { type: "process.exited" };

export type DomainRequest = Extract<DomainEvent, { type: `operator.${string}` | `peer.${string}` }>;

export interface DomainInput {
  readonly uuid: string;
  /** Whether a restarted host has yet to examine its records of the guest. */
  readonly restarted: boolean;
  /** Whether the guest left for another host and is still defined on this one. */
  readonly away: boolean;
}

export interface DomainContext {
  readonly uuid: string;
  readonly restarted: boolean;
  readonly away: boolean;
  /** The migration by which the guest departs or arrives; null otherwise. */
  readonly migrationId: string | null;
  /** The start in progress; null when there is none. */
  readonly start: { readonly paused: boolean; readonly xml: string } | null;
  /** Why the guest is quarantined; null while it is not. */
  readonly why: string | null;
  /** A migration is unresolved: another host may run the guest, even when the copy here has been given up. */
  readonly mayBeElsewhere: boolean;
  /** Why the last request's effect failed; null when it did not. */
  readonly failed: string | null;
}

export interface StartRequest {
  readonly uuid: string;
  readonly paused: boolean;
  readonly xml: string;
}

export const startRequest = ({ context: { uuid, start } }: { context: DomainContext }): StartRequest => ({
  ...present(start, "the start request"),
  uuid,
});

type Answered = { readonly event: { readonly output: Answer<unknown> } };

export const { createMachine, createStateConfig } = setup({
  types: {
    context: {} as DomainContext,
    events: {} as DomainEvent,
    emitted: {} as Extract<Notice, { type: "kept" | "refused" }>,
    input: {} as DomainInput,
    tags: {} as "unsettled" | "quarantined",
  },
  actors: {
    recordStart: fromPromise<Answer<null>, StartRequest>(unbound("recordStart")),
    boot: fromPromise<Answer<null>, StartRequest>(unbound("boot")),
    recordAway: fromPromise<Answer<null>, string>(unbound("recordAway")),
    forgetAway: fromPromise<Answer<null>, string>(unbound("forgetAway")),
    forgetQemu: fromPromise<Answer<null>, string>(unbound("forgetQemu")),
    endQemu: fromPromise<Answer<null>, string>(unbound("endQemu")),
    stopVcpus: fromPromise<Answer<null>, string>(unbound("stopVcpus")),
    continueVcpus: fromPromise<Answer<null>, string>(unbound("continueVcpus")),
  },
  actions: {
    keep: emit(({ event }, { why }: { why: string }) => ({ type: "kept", event: event.type, why }) as const),
    refuse: emit(
      ({ event }, { why }: { why: string }) => ({ type: "refused", event: event.type, why }) as const,
    ),
    refuseQuarantined: emit(
      ({ event, context }) =>
        ({
          type: "refused",
          event: event.type,
          why: `the domain is quarantined: ${context.why ?? ""}`,
        }) as const,
    ),
    reserve: assign(({ event }) => ("migrationId" in event ? { migrationId: event.migrationId } : {})),
    endMigration: assign({ migrationId: null, mayBeElsewhere: false }),
    keepStart: assign(({ event }) =>
      event.type === "operator.startRequested"
        ? { start: { paused: event.paused, xml: event.xml }, failed: null }
        : {},
    ),
    beginRequest: assign({ failed: null }),
    noteFailed: assign((_, { why }: { why: string }) => ({ failed: why })),
    quarantine: assign(({ context }, { why, elsewhere }: { why: string; elsewhere: boolean }) => ({
      why,
      mayBeElsewhere: context.mayBeElsewhere || elsewhere,
    })),
    doubt: assign(({ event }) => (event.type === "migration.undecided" ? { why: event.why } : {})),
    release: assign({ why: null }),
    markAway: assign({ away: true }),
    markHere: assign({ away: false }),
  },
  guards: {
    found: ({ event }, left: Found["left"]) => "found" in event && event.found.left === left,
    isAnothers: ({ event, context }) => "migrationId" in event && event.migrationId !== context.migrationId,
  },
});

export const ignoring = (why: string) => ({ actions: { type: "keep", params: { why } } }) as const;
export const rejecting = (why: string) => ({ actions: { type: "refuse", params: { why } } }) as const;

/** Records why an effect failed, or that it was not answered. */
export const noteFailed = {
  type: "noteFailed",
  params: ({ event }: Answered) => ({
    why: event.output.kind === "done" ? "" : event.output.cause.message,
  }),
} as const;

export const isDone = ({ event }: Answered): boolean => event.output.kind === "done";

/** The transitions to the state that matches the remains of the guest on this host. */
export const settled = [
  { guard: { type: "found", params: "running" }, target: "#domain.active.running" },
  { guard: { type: "found", params: "paused" }, target: "#domain.active.paused" },
  { guard: { type: "found", params: "broken" }, target: "#domain.broken" },
  { guard: { type: "found", params: "nothing" }, target: "#domain.leaving" },
  { guard: { type: "found", params: "away" }, target: "#domain.leaving", actions: "markAway" },
  {
    target: "#domain.quarantined",
    actions: {
      type: "quarantine",
      params: ({ event }: { event: DomainEvent }) => ({
        why: "found" in event && event.found.left === "unknown" ? event.found.why : "",
        elsewhere: "found" in event && event.found.left === "unknown" && event.found.elsewhere === true,
      }),
    },
  },
] as const;
