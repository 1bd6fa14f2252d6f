// A host for one test, of either kind.

import { onTestFinished } from "vitest";
import { Redial } from "../../src/drivers/libvirt/redial.js";
import { systemClock } from "../../src/drivers/system.js";
import { startLibvirtd } from "../rpc/libvirtd.js";
import { HostProcess } from "./lab.js";

type Kind = "libvirtd" | "switchoverd";

export interface Peer {
  readonly uri: string;
  readonly redial: Redial;
}

/** Until the test is over. */
export async function hostOf(kind: Kind, name: string): Promise<Peer> {
  const uri = kind === "libvirtd" ? (await startLibvirtd({ hostname: name })).uri : await daemon(name);
  const redial = new Redial(uri, systemClock);
  onTestFinished(() => redial.close());
  return { uri, redial };
}

async function daemon(name: string): Promise<string> {
  const host = new HostProcess(name);
  onTestFinished(() => host.remove());
  await host.start();
  return host.uri;
}
