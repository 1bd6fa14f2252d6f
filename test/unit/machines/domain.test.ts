// The domain machine: the answer of each of its states to each request. Checks G1: a guest that is reserved, under way or
// quarantined is neither started nor resumed nor received a second time.

import { describe, expect, test } from "vitest";
import { createActor, fromPromise } from "xstate";
import { type DomainRequest, domainMachine, type Found } from "../../../src/machines/domain/machine.js";
import { statesOf } from "../../../src/machines/shared/walk.js";
import { failed, nothing } from "../../../src/protocol/effect-result.js";

type Effect =
  | "recordStart"
  | "boot"
  | "endQemu"
  | "stopVcpus"
  | "continueVcpus"
  | "forgetQemu"
  | "recordAway"
  | "forgetAway";
const effects: readonly Effect[] = [
  ...(["recordStart", "boot", "endQemu", "stopVcpus", "continueVcpus"] as const),
  ...(["forgetQemu", "recordAway", "forgetAway"] as const),
];

/** A machine whose effects wait, succeed or fail. */
function begun(
  behaviour: Partial<Record<Effect, "waits" | "fails" | "done">> = {},
  input: { restarted?: boolean; away?: boolean } = {},
) {
  const actors = Object.fromEntries(
    effects.map((name) => [
      name,
      fromPromise(async () => {
        if (behaviour[name] === "waits") return new Promise<never>(() => {});
        return behaviour[name] === "fails" ? failed(`${name} failed`) : nothing;
      }),
    ]),
  );
  const actor = createActor(domainMachine.provide({ actors: actors as never }), {
    input: { uuid: "u", restarted: false, away: false, ...input },
  });
  const refused: string[] = [];
  actor.on("refused", ({ why }) => refused.push(why));
  actor.start();
  return { actor, refused };
}

const start = { type: "operator.startRequested", paused: false, xml: "<domain/>" } as const;
const prepare = { type: "peer.prepareRequested", migrationId: "m" } as const;
const begin = { type: "peer.beginRequested", migrationId: "m" } as const;
const settled = () => new Promise((resolve) => setTimeout(resolve, 5));
const ended = (found: Found, migrationId = "m") => ({ type: "migration.ended", migrationId, found }) as const;

describe("the domain machine", () => {
  test("declares in every state how it treats every request that could run or receive the guest", () => {
    const requests: DomainRequest["type"][] = [
      "operator.startRequested",
      "peer.prepareRequested",
      "operator.destroyRequested",
    ];
    const states = statesOf(domainMachine).filter(
      ({ parent, key }) => parent?.key === "domain" && key !== "opening",
    );
    expect(states.length).toBeGreaterThan(8);
    for (const state of states)
      for (const type of requests) {
        // A transient state defers requests.
        if (state.tags.includes("unsettled")) continue;
        expect(state.ownEvents, `${state.key} on ${type}`).toContain(type);
      }
  });

  test("rejects a second start, an arrival and a concession while a start is under way", () => {
    const { actor, refused } = begun({ recordStart: "waits" });
    actor.send(start);
    for (const event of [start, prepare, { type: "peer.concedeRequested" } as const]) actor.send(event);
    expect(refused).toEqual(Array(3).fill("another job is active: start"));
    expect(actor.getSnapshot().matches("starting")).toBe(true);
  });

  test("cancels a start that is in progress when another host turns out to run the guest", async () => {
    const { actor } = begun({ boot: "waits" });
    actor.send(start);
    await settled();
    actor.send({ type: "peer.runsGuest" });
    await settled();
    expect(actor.getSnapshot().matches("inactive")).toBe(true);
    expect(actor.getSnapshot().context.failed).toContain("another host");
    actor.send(prepare);
    expect(actor.getSnapshot().matches("arriving")).toBe(true);
  });

  test("rejects a start and a second arrival while the guest arrives, and runs it when it has arrived", () => {
    const { actor, refused } = begun();
    actor.send(prepare);
    for (const event of [start, { ...prepare, migrationId: "another" }]) actor.send(event);
    expect(refused).toEqual(Array(2).fill("another job is active: migration in"));
    expect(actor.getSnapshot().context.migrationId).toBe("m");
    actor.send(ended({ left: "running" }));
    expect(actor.getSnapshot().matches({ active: "running" })).toBe(true);
  });

  test("releases a departing or arriving guest only when its own migration has ended", () => {
    for (const [event, state] of [
      [prepare, "arriving"],
      [begin, "departing"],
    ] as const) {
      const { actor } = begun({}, { restarted: state === "departing" });
      actor.send({ type: "host.examined", found: { left: "running" } });
      actor.send(event);
      actor.send(ended({ left: "nothing" }, "an earlier one"));
      expect(actor.getSnapshot().matches(state)).toBe(true);
      actor.send(ended({ left: "running" }));
      expect(actor.getSnapshot().matches({ active: "running" })).toBe(true);
    }
  });

  test("a guest that may run elsewhere stays away when an operator releases its copy on this host", async () => {
    const unknown = { left: "unknown", why: "its story cannot be read", elsewhere: true } as const;
    for (const type of ["operator.destroyRequested", "operator.releaseRequested"] as const)
      for (const [recordAway, state, why] of [
        ["done", "inactive", "away"],
        ["fails", "quarantined", "may run on another host"],
      ] as const) {
        const { actor, refused } = begun({ recordAway }, { restarted: true });
        actor.send({ type: "host.examined", found: unknown });
        actor.send({ type });
        await settled();
        expect(actor.getSnapshot().matches(state)).toBe(true);
        actor.send(start);
        expect(refused.at(-1)).toContain(why);
      }
  });

  test("does not resume a guest that departs, and forgets it when it has left", async () => {
    const { actor, refused } = begun();
    actor.send(start);
    await settled();
    actor.send(begin);
    actor.send({ type: "operator.resumeRequested" });
    expect(refused).toEqual(["another job is active: migration out"]);
    actor.send(ended({ left: "away" }));
    await settled();
    expect(actor.getSnapshot().matches("inactive")).toBe(true);
    actor.send(start);
    expect(refused.at(-1)).toContain("away");
  });

  test("starts an away guest only after the other host has conceded it and that is durable", async () => {
    const { actor, refused } = begun({}, { away: true });
    actor.send(start);
    expect(refused).toHaveLength(1);
    actor.send({ type: "peer.conceded" });
    await settled();
    actor.send(start);
    await settled();
    expect(actor.getSnapshot().matches({ active: "running" })).toBe(true);
  });

  test("keeps a guest away when its return cannot be made durable", async () => {
    const { actor, refused } = begun({ forgetAway: "fails" }, { away: true });
    actor.send({ type: "peer.conceded" });
    await settled();
    actor.send(start);
    expect(refused.at(-1)).toContain("away");
  });

  test("does not start a guest that it has conceded, even when the record failed", async () => {
    const { actor, refused } = begun({ recordAway: "fails" });
    actor.send({ type: "peer.concedeRequested" });
    await settled();
    actor.send(start);
    expect(refused.at(-1)).toContain("away");
  });

  test("quarantines what a restarted host cannot attribute, and neither starts, resumes, receives nor concedes it", () => {
    const { actor, refused } = begun({}, { restarted: true });
    actor.send({ type: "host.examined", found: { left: "unknown", why: "its story cannot be read" } });
    expect(actor.getSnapshot().hasTag("quarantined")).toBe(true);
    const requests = [start, prepare, begin, { type: "operator.resumeRequested" } as const];
    for (const event of [...requests, { type: "peer.concedeRequested" } as const]) actor.send(event);
    expect(refused).toEqual(Array(5).fill("the domain is quarantined: its story cannot be read"));
  });

  test("does not start a guest whose QEMU could not be ended", async () => {
    const { actor, refused } = begun({ endQemu: "fails" });
    actor.send(start);
    await settled();
    actor.send({ type: "operator.destroyRequested" });
    await settled();
    actor.send(start);
    expect(refused.at(-1)).toContain("quarantined");
  });
});
