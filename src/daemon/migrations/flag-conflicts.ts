// What libvirt does not let be asked for together, whatever the guest is, with its codes: checked by each side, at each
// step that a client asks. The rules are in the table of migration options.

import { type Asked, askedByLibvirt } from "../../protocol/options/asked.js";
import { libvirtNames } from "../../protocol/options/names.js";
import { refusalsOf } from "../../protocol/options/rules.js";
import { groupOf, type OptionName, rowOf } from "../../protocol/options/table.js";
import { libvirtError } from "../rpc/errors.js";
import type { StepRequest } from "./request.js";

export interface Asking {
  readonly side: "source" | "destination";
  /** The stream of a tunnel is there. */
  readonly isTunnelPrepared?: boolean;
}

/** @throws LibvirtError */
export function checkTogether(words: StepRequest, asking: Asking): void {
  for (const { code, message } of refusalsOf(askedAt(asking, askedByLibvirt(words)), libvirtNames))
    throw libvirtError(code, message);
}

/** A destination is sent the figures of what only its source is told, and a tunnel's stream by a source that leads. */
function askedAt({ side, isTunnelPrepared = false }: Asking, asked: Asked): Asked {
  const tunesSource = (name: OptionName) => {
    const group = groupOf(name);
    return group !== undefined && rowOf(group).libvirt?.sourceOnly === true;
  };
  return new Map([
    ...[...asked].filter(([name]) => side === "source" || !tunesSource(name)),
    ...(isTunnelPrepared ? ([["peerToPeer", true]] as const) : []),
  ]);
}
