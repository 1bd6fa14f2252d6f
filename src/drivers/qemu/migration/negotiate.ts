// Decides which requested options are set, from the capabilities that the two QEMUs report and never from their
// versions. Both sides decide alike, each from its own knowledge and the other's capabilities. No I/O.

import type { Dropped } from "../../../protocol/stream.js";
import {
  type Parameters,
  type Row,
  rows,
  type Side,
  type SideOptions,
  type Wished,
  wishedOf,
} from "./option-table.js";

/** The options that a QEMU supports. */
export interface Knowledge {
  readonly capabilities: readonly string[];
  readonly parameters: readonly string[];
  /** The allowed words of a parameter; undefined when any value is allowed, or when it was not queried. */
  readonly words: (parameter: string) => readonly string[] | undefined;
}

export interface Negotiated {
  readonly capabilities: { readonly capability: string; readonly state: boolean }[];
  readonly parameters: Parameters;
  /** Parameters that are set to requested values rather than turned off. */
  readonly wished: Parameters;
  readonly dropped: readonly Dropped[];
}

const otherOf = { source: "destination", destination: "source" } as const;

/**
 * Sets or turns off every known setting, whatever its previous value. Null for the other side's capabilities: they
 * are not known yet, and missing ones are found later.
 */
export function negotiate(
  wish: SideOptions,
  side: Side,
  own: Knowledge,
  peer: readonly string[] | null,
): Negotiated | { readonly refused: string } {
  const negotiated = { capabilities: [] as Negotiated["capabilities"], dropped: [] as Dropped[] };
  const wishes = wishedOf(wish);
  let off: Parameters = {};
  let on: Parameters = {};
  for (const row of rows) {
    const wished = row.wished(wishes) && (row.of !== "source" || side === "source");
    const lack = wished ? lackOf(row, wishes, side, own, peer) : undefined;
    if (lack !== undefined) {
      if (!mayBeMissing(row, wishes)) return { refused: `${row.option} is not available: ${lack}` };
      negotiated.dropped.push({ option: row.option, why: lack });
    }
    const state = wished && lack === undefined;
    if (row.capability !== undefined && own.capabilities.includes(row.capability))
      negotiated.capabilities.push({ capability: row.capability, state });
    if (state) on = { ...on, ...row.parameters?.(wishes, side) };
    else off = { ...off, ...knownOf(row.off, own) };
  }
  return { ...negotiated, parameters: { ...off, ...on }, wished: on };
}

const mayBeMissing = (row: Row, { optional = [] }: Wished) =>
  row.mayBeMissing === true || optional.some((option) => option === row.option);

function lackOf(
  { capability, of, parameters, age = "" }: Row,
  wished: Wished,
  side: Side,
  own: Knowledge,
  peer: readonly string[] | null,
): string | undefined {
  const unknownTo = (whose: Side) =>
    `the ${whose}'s QEMU does not support the capability "${capability}"${age}`;
  if (capability !== undefined) {
    if (!own.capabilities.includes(capability)) return unknownTo(side);
    if (of === "stream" && peer !== null && !peer.includes(capability)) return unknownTo(otherOf[side]);
  }
  for (const [name, value] of Object.entries(parameters?.(wished, side) ?? {})) {
    if (value === undefined) continue;
    if (!own.parameters.includes(name))
      return `the ${side}'s QEMU does not support the migration parameter "${name}"${age}`;
    const words = own.words(name);
    if (words !== undefined && !words.includes(String(value)))
      return `the ${side}'s QEMU supports "${name}" only as ${words.join(", ")}, not as ${value}`;
  }
  return undefined;
}

const knownOf = (parameters: Parameters | undefined, own: Knowledge): Parameters =>
  Object.fromEntries(Object.entries(parameters ?? {}).filter(([name]) => own.parameters.includes(name)));
