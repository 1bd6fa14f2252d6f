// Checks the operator's decisions when a host has lost or cannot read its durable state (G2): until then no second copy runs,
// the guest is quarantined with the reason on every host that has a part of it, and one command ends the quarantine.

import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { domainStates } from "../../../src/drivers/libvirt/rpc/constants.js";
import { remote } from "../../../src/drivers/libvirt/rpc/procedures.js";
import { own } from "../../../src/drivers/libvirt/rpc/switchover-program.js";
import { inTwoHosts, type TwoHosts } from "../../support/host-process.js";
import { flipBit, journalOf, stateAt, storyOf } from "../../support/host-state.js";
import { testLimitMs } from "../../support/patience.js";
import { hangingAsItTakes, noCookie, StepByStep } from "../../support/step-by-step.js";
import { until } from "../../support/until.js";

const { procedures } = remote;

const standingAt = async (lab: TwoHosts, side: "a" | "b"): Promise<string> =>
  (await (await lab.rpc(side)).call(own.procedures.standing, null)).domains;

/** The guest was handed over and runs at b; the source has not been notified. */
async function handedOver(lab: TwoHosts): Promise<StepByStep> {
  const steps = await StepByStep.through("finish", lab);
  return steps;
}

/** An operator has destroyed b's copy, and b has since lost its journal: it cannot report its decision. */
async function forgottenThere(lab: TwoHosts): Promise<void> {
  const steps = await handedOver(lab);
  await (await lab.rpc("b")).call(procedures.domainDestroy, { dom: lab.dom });
  await lab.hosts.b.kill();
  rmSync(journalOf(lab, "b"), { recursive: true });
  await lab.hosts.b.start();
  await steps.confirm(noCookie, 1).catch(() => {});
  await until(async () => (await standingAt(lab, "a")).includes("cannot report who runs the guest"));
}

describe("a source whose destination lost its journal", () => {
  test("is quarantined with the reason, and a destroy ends its copy and the migration", {
    timeout: testLimitMs,
  }, async () => {
    await inTwoHosts({}, async (lab) => {
      await forgottenThere(lab);
      expect(await stateAt(lab, "a")).toBe(domainStates.paused);
      const a = await lab.rpc("a");
      await expect(a.call(procedures.domainResume, { dom: lab.dom })).rejects.toThrow(
        "another job is active",
      );
      await a.call(procedures.domainDestroy, { dom: lab.dom });
      expect(lab.guest.pids()).toEqual([]);
      // A transient domain: nothing of it is left.
      await expect(stateAt(lab, "a")).rejects.toThrow("no domain with matching uuid");
      expect(await standingAt(lab, "a")).toBe("[]");
    });
  });

  test("resumes its guest when an operator adopts this copy, also after a restart", {
    timeout: testLimitMs,
  }, async () => {
    await inTwoHosts({}, async (lab) => {
      await forgottenThere(lab);
      await lab.restart("a");
      await until(async () => (await standingAt(lab, "a")).includes("cannot report who runs the guest"));
      await (await lab.rpc("a")).call(own.procedures.adopt, { uuid: lab.guest.uuid });
      await lab.guest.counts("a");
      expect(await stateAt(lab, "a")).toBe(domainStates.running);
      expect(await standingAt(lab, "a")).toBe("[]");
    });
  });

  test("cannot be decided by an operator while the migration itself can find out who runs the guest", {
    timeout: testLimitMs,
  }, async () => {
    await inTwoHosts({}, async (lab) => {
      const steps = await StepByStep.over(lab);
      await steps.begin();
      const { uuid } = lab.guest;
      const a = await lab.rpc("a");
      await expect(a.call(own.procedures.adopt, { uuid })).rejects.toThrow("the migration is in progress");
      await steps.prepare();
      await steps.perform();
      await expect(a.call(own.procedures.release, { uuid })).rejects.toThrow("the migration is in progress");
      await steps.finish();
      await steps.confirm();
      await lab.runsAt("b");
    });
  });
});

describe("a quarantined guest with a QEMU on this host", () => {
  test("is released from quarantine when an operator adopts it, and its damaged story is kept but never read again", {
    timeout: testLimitMs,
  }, async () => {
    await inTwoHosts({}, async (lab) => {
      const steps = await StepByStep.through("perform", lab);
      const story = storyOf(lab, "a");
      await lab.hosts.a.kill();
      await steps.finish();
      flipBit(story);
      await lab.hosts.a.start();
      await (await lab.rpc("b")).call(procedures.domainDestroy, { dom: lab.dom });
      const a = await lab.rpc("a");
      await expect(a.call(own.procedures.release, { uuid: lab.guest.uuid })).rejects.toThrow(
        "switchover adopt",
      );
      await a.call(own.procedures.adopt, { uuid: lab.guest.uuid });
      expect(await stateAt(lab, "a")).toBe(domainStates.paused);
      await a.call(procedures.domainResume, { dom: lab.dom });
      await lab.guest.counts("a");
      expect(lab.hosts.a.takeSaid()).toContain("is quarantined");
      await lab.restart("a");
      expect(await standingAt(lab, "a")).toBe("[]");
      await lab.guest.counts("a");
      expect(readFileSync(`${story}.unreadable`).length).toBeGreaterThan(0);
    });
  });

  test("is taken when an operator adopts it at the destination: the source ends its copy", {
    timeout: testLimitMs,
  }, async () => {
    await inTwoHosts({}, async (lab) => {
      const { there } = await hangingAsItTakes(lab);
      await lab.hosts.b.kill();
      flipBit(storyOf(lab, "b"));
      await lab.hosts.b.start();
      const b = await lab.rpc("b");
      const { uuid } = lab.guest;
      await expect(b.call(own.procedures.adopt, { uuid })).rejects.toThrow("does not answer");
      expect(await stateAt(lab, "a")).toBe(domainStates.paused);
      process.kill(there, "SIGCONT");
      await b.call(own.procedures.adopt, { uuid });
      if ((await stateAt(lab, "b")) === domainStates.paused)
        await b.call(procedures.domainResume, { dom: lab.dom });
      await lab.runsAt("b");
      await lab.guest.counts("b");
      await until(() => lab.guest.pids().length === 1);
      expect(lab.hosts.b.takeSaid()).toContain("is quarantined");
    });
  });

  test("cannot be adopted before all of its memory has arrived", { timeout: testLimitMs }, async () => {
    await inTwoHosts({}, async (lab) => {
      const steps = await StepByStep.through("prepare", lab);
      await lab.hosts.b.kill();
      rmSync(join(lab.hosts.b.directory, "state", "journal"), { recursive: true });
      await lab.hosts.b.start();
      const b = await lab.rpc("b");
      await expect(b.call(own.procedures.adopt, { uuid: lab.guest.uuid })).rejects.toThrow(
        "can only be destroyed",
      );
      await b.call(procedures.domainDestroy, { dom: lab.dom });
      expect(lab.guest.pids()).toHaveLength(1);
      await steps.confirm(noCookie, 1).catch(() => {});
      await lab.runsAt("a");
      expect(lab.hosts.b.takeSaid()).toContain("is quarantined");
    });
  });
});
