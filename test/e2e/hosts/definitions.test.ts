// Checks what becomes of the definition when a daemon is killed just after a guest has left or arrived: its files are reset to
// the state that such a crash leaves.

import { cpSync, rmSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { remote } from "../../../src/drivers/libvirt/rpc/procedures.js";
import { inTwoHosts, type TwoHosts } from "../../support/host-process.js";

const { procedures } = remote;
const slow = { bandwidthMiBps: 12 };

/** Moves the guest, and restores the content of `state/<name>` at that side during the move after a kill. */
async function killedAtTheEnd(lab: TwoHosts, side: "a" | "b", names: readonly string[]): Promise<void> {
  const state = join(lab.hosts[side].directory, "state");
  const image = join(lab.hosts[side].directory, "image");
  const { outcome } = await lab.managed(slow);
  await lab.jobAt("a", ({ memTotal }) => memTotal > 0n);
  for (const name of names) cpSync(join(state, name), join(image, name), { recursive: true });
  expect((await outcome).kind).toBe("arrived");
  await lab.hosts[side].kill();
  for (const name of names) {
    rmSync(join(state, name), { recursive: true });
    cpSync(join(image, name), join(state, name), { recursive: true });
  }
  await lab.hosts[side].start();
}

test.each([
  ["before", ["domains", "running"]],
  ["just after", ["running"]],
])("the source's daemon undefines the guest that has left, killed %s it did", async (_, names) => {
  await inTwoHosts({}, async (lab) => {
    await killedAtTheEnd(lab, "a", names);
    expect(await lab.list("a")).toEqual([]);
    await lab.countsOn();
  });
});

test("the destination's daemon defines a guest that arrived before it was killed", async () => {
  await inTwoHosts({}, async (lab) => {
    await killedAtTheEnd(lab, "b", ["domains", "running"]);
    const b = await lab.rpc("b");
    expect(await b.call(procedures.domainIsPersistent, { dom: lab.dom })).toEqual({ persistent: 1 });
    await lab.countsOn();
  });
});

test("a guest that stayed keeps its definition, even when its QEMU ends while its daemon is down", async () => {
  await inTwoHosts({}, async (lab) => {
    const { outcome, abort } = await lab.managed(slow);
    await lab.jobAt("a", ({ memTotal }) => memTotal > 0n);
    await abort();
    expect((await outcome).kind).toBe("aborted");
    await lab.runsAt("a");
    await lab.hosts.a.kill();
    for (const pid of lab.guest.pids()) process.kill(pid, "SIGKILL");
    await lab.hosts.a.start();
    const a = await lab.rpc("a");
    expect(await a.call(procedures.domainIsPersistent, { dom: lab.dom })).toEqual({ persistent: 1 });
    expect(await a.call(procedures.domainIsActive, { dom: lab.dom })).toEqual({ active: 0 });
  });
});
