// Writes the state of a host whose daemon died during a migration, and helpers to query that host.

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { remote } from "../../src/drivers/libvirt/rpc/procedures.js";
import type { QemuHandle } from "../../src/drivers/qemu/process/spec.js";
import { defaultLimits } from "../../src/protocol/convergence/limits.js";
import { defaultDeadlines } from "../../src/protocol/deadlines.js";
import type { GuestDescription } from "../../src/protocol/messages.js";
import { anywhere, connectionUri, streamAddress } from "../../src/protocol/peer-text.js";
import { defaultPolicy } from "../../src/protocol/unreachable-policy.js";
import { goneQemu, type HostInProcess, web, webDom, webUuid, webXml } from "./in-process.js";

export const migrationId = "0f3f-a1";
export const question = { ...web, migrationId };
const guest: GuestDescription = {
  uuid: webUuid,
  guestWas: "running",
  qemuVersion: "",
  memoryBytes: 2 ** 26,
  capabilities: [],
  disks: [],
  fencingToken: null,
};

/** Writes the records of a source that handed the guest over and whose daemon then died; its QEMU died too unless one is given. */
export async function handedOver(
  host: HostInProcess,
  destination: HostInProcess,
  qemu: QemuHandle = goneQemu(),
): Promise<void> {
  const common = { migrationId, side: "source", atMs: Date.now() } as const;
  const prepared = {
    uri: streamAddress("unix:/gone", anywhere),
    capabilities: [],
    settle: connectionUri(destination.uri, { ...anywhere, certificates: false }),
    peer: { hostname: destination.name },
  };
  await host.inJournal(async (journal) => {
    await journal.append({
      ...common,
      kind: "opened",
      side: "source",
      input: {
        identity: question,
        limits: defaultLimits,
        policy: defaultPolicy,
        deadlines: { ...defaultDeadlines, backoffMs: 20, maxBackoffMs: 200 },
      },
      host: {
        spec: { ...web, args: [] },
        qemu,
        pauseBeforeSwitchover: false,
        abortOnError: false,
        storage: null,
        stream: {},
        xml: webXml,
        undefineSource: false,
      },
    });
    await journal.append({
      ...common,
      kind: "state",
      state: "handedOver",
      event: "monitor.completed",
      because: [],
      undone: [],
      learned: { guest, prepared, settings: null, limits: defaultLimits },
    });
  });
  await host.record({ departing: migrationId, handle: qemu });
  await (await host.records()).definitions.write(webUuid, webXml);
}

/** Damages the migration's story on that host. */
export function damageStory(host: HostInProcess): void {
  const story = join(host.stateDirectory, "journal", `${migrationId}.journal`);
  writeFileSync(story, readFileSync(story, "utf8").replace("handedOver", "handedover"));
}

/** Returns the type of the job of that host's guest; 0 when there is none. */
export async function jobOf(host: HostInProcess): Promise<number> {
  const { type } = await (await host.rpc()).call(remote.procedures.domainGetJobInfo, { dom: webDom });
  return type;
}
