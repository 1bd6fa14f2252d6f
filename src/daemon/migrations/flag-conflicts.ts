// Refuses flags and parameters that libvirt does not allow together, with libvirt's error codes. Each side checks them at
// each step that a client requests. The rules are in the table of migration options.

import { type Asked, askedByLibvirt } from "../../protocol/options/asked.js";
import { libvirtNames } from "../../protocol/options/names.js";
import { refusalsOf } from "../../protocol/options/rules.js";
import { groupOf, type OptionName, rowOf } from "../../protocol/options/table.js";
import { libvirtError } from "../rpc/errors.js";
import type { StepRequest } from "./request.js";

export interface Asking {
  readonly side: "source" | "destination";
  /** True if the client has opened the stream of a tunnel. */
  readonly isTunnelPrepared?: boolean;
}

/** @throws LibvirtError */
export function checkTogether(request: StepRequest, asking: Asking): void {
  for (const { code, message } of refusalsOf(askedAt(asking, askedByLibvirt(request)), libvirtNames))
    throw libvirtError(code, message);
}

/**
 * Adapts the options to the side. A destination also receives parameters of features that only the source enables, and a
 * tunnel's stream only from a peer-to-peer source.
 */
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
