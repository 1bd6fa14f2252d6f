// What a host has of a guest and its migrations: its state as libvirt's clients see it, and the files of its journal.

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

/** One bit in the middle of the file is another. */
export function flipBit(path: string): void {
  const bytes = readFileSync(path);
  const at = bytes.indexOf("\n") + 40;
  bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at);
  writeFileSync(path, bytes);
}
