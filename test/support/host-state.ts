// The state of a guest and its migrations on a host: as libvirt's clients see it, and as files of the journal.

import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { remote } from "../../src/drivers/libvirt/rpc/procedures.js";
import type { TwoHosts } from "./host-process.js";

const { procedures } = remote;

export const stateAt = async (lab: TwoHosts, side: "a" | "b") => {
  const { state } = await (await lab.rpc(side)).call(procedures.domainGetState, { dom: lab.dom, flags: 0 });
  return state;
};

export const journalOf = (lab: TwoHosts, side: "a" | "b") =>
  join(lab.hosts[side].directory, "state", "journal");
export const storyOf = (lab: TwoHosts, side: "a" | "b"): string => {
  const [name = ""] = readdirSync(journalOf(lab, side)).filter((entry) => entry.endsWith(".journal"));
  return join(journalOf(lab, side), name);
};

/** Flips one bit in the middle of the file. */
export function flipBit(path: string): void {
  const bytes = readFileSync(path);
  const at = bytes.indexOf("\n") + 40;
  bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at);
  writeFileSync(path, bytes);
}
