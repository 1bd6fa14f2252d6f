// Late evidence at a host: a QEMU that did not answer at start-up answers or ends, or an operator has decided in the meantime.
// Checks G1 over state on disk, with the daemon in this process.

import { expect, test } from "vitest";
import { remote } from "../../../src/drivers/libvirt/rpc/procedures.js";
import { damageStory, handedOver, jobOf, migrationId } from "../../support/handed-over.js";
import { HostInProcess, lateQemu, webDom } from "../../support/in-process.js";
import { testLimitMs } from "../../support/patience.js";
import { until } from "../../support/until.js";

const { procedures } = remote;

test("a QEMU that answers late ends a quarantine only if its answer proves who runs the guest", {
  timeout: testLimitMs,
}, async () => {
  const qemus = await Promise.all([lateQemu(), lateQemu(), lateQemu(), lateQemu()]);
  const [own, came, left, told] = qemus;
  const hosts = qemus.map(() => new HostInProcess());
  const [mine, arrival, departure, unreadable] = hosts as [
    HostInProcess,
    HostInProcess,
    HostInProcess,
    HostInProcess,
  ];
  await arrival.record({ incoming: migrationId, handle: came.handle, journal: "another" });
  await departure.record({ departing: migrationId, handle: left.handle, journal: "another" });
  await handedOver(unreadable, new HostInProcess("hostb"), told.handle);
  damageStory(unreadable);
  await mine.record({ handle: own.handle });
  await Promise.all([arrival, departure, unreadable].map((host) => host.start()));
  // The last one is retried last.
  await mine.start();
  expect(await mine.quarantine()).toContain("does not answer");
  await Promise.all(qemus.map((qemu) => qemu.answer()));
  await until(async () => (await mine.quarantine()) === undefined);
  for (const host of [arrival, departure]) expect(await host.quarantine()).toContain("is lost");
  expect(await unreadable.quarantine()).toContain("cannot be read");
});

test("the story of a QEMU that does not answer resumes when the QEMU ends, but not when an operator ended it", {
  timeout: testLimitMs,
}, async () => {
  const qemus = await Promise.all([lateQemu(), lateQemu(), lateQemu()]);
  const [resting, tried, dying] = qemus;
  const there = new HostInProcess("hostb");
  const hosts = { resting: new HostInProcess(), tried: new HostInProcess(), dying: new HostInProcess() };
  await handedOver(hosts.resting, there, resting.handle);
  await handedOver(hosts.tried, there, tried.handle);
  await handedOver(hosts.dying, there, dying.handle);
  await Promise.all([hosts.resting.start(), hosts.tried.start()]);
  expect(await hosts.resting.quarantine()).toContain("does not answer");
  await (await hosts.resting.rpc()).call(procedures.domainDestroy, { dom: webDom });
  // While the host retries the QEMU.
  await tried.reached();
  await (await hosts.tried.rpc()).call(procedures.domainDestroy, { dom: webDom });
  // This host starts later than the others, and so retries later.
  await hosts.dying.start();
  expect(await jobOf(hosts.dying)).toBe(0);
  process.kill(dying.handle.pid, "SIGKILL");
  await until(async () => (await jobOf(hosts.dying)) !== 0);
  expect(await jobOf(hosts.resting)).toBe(0);
  expect(await jobOf(hosts.tried)).toBe(0);
});
