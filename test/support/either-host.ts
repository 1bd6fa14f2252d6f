// Starts a host of either kind, switchoverd or libvirtd, for one test.

import { onTestFinished } from "vitest";
import type { ConfigInput } from "../../src/daemon/config.js";
import { Redial } from "../../src/drivers/libvirt/client/reconnecting-client.js";
import { systemClock } from "../../src/drivers/platform/clock.js";
import { HostProcess } from "./host-process.js";
import type { LibvirtdOptions } from "./launch-libvirtd.js";
import { startLibvirtd } from "./libvirtd.js";

type Kind = "libvirtd" | "switchoverd";

export interface Peer {
  readonly uri: string;
  readonly redial: Redial;
}

/** Ends with the test. `qemu`: additional lines of a libvirtd's qemu.conf; the other options are a switchoverd's. */
export async function hostOf(
  kind: Kind,
  name: string,
  { qemu, ...more }: Pick<LibvirtdOptions, "qemu"> & Partial<ConfigInput> = {},
): Promise<Peer> {
  const uri =
    kind === "libvirtd" ? (await startLibvirtd({ hostname: name, qemu })).uri : await daemon(name, more);
  const redial = new Redial(uri, systemClock);
  onTestFinished(() => redial.close());
  return { uri, redial };
}

async function daemon(name: string, more: Partial<ConfigInput>): Promise<string> {
  const host = new HostProcess(name, more);
  onTestFinished(() => host.remove());
  await host.start();
  return host.uri;
}
