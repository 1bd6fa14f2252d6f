// Compares two models of one type from the guest's point of view: the table says which parts the guest can see.

import type { Place } from "./errors.js";
import { placeIn } from "./read.js";
import type { ElementType, Field, Fields } from "./table.js";

export interface Difference {
  /** Path at the source, or at the destination when only the destination has the part. */
  readonly path: string;
  /** Values as they are written in XML; undefined when that side has none. */
  readonly source: string | undefined;
  readonly destination: string | undefined;
  /** Place in each XML text that has the part. */
  readonly places: { readonly source: Place | undefined; readonly destination: Place | undefined };
}

type Part = Readonly<Record<string, unknown>>;
interface Pair {
  readonly source: Part | undefined;
  readonly destination: Part | undefined;
}

export function differences<T>(type: ElementType<T>, source: T, destination: T): Difference[] {
  return ofParts(type, { source: source as Part, destination: destination as Part });
}

function ofParts({ fields, variants }: ElementType<unknown>, pair: Pair): Difference[] {
  const by = variants?.by ?? "";
  const variant = (part: Part | undefined) => (part === undefined ? undefined : String(part[by]));
  const [source, destination] = [variant(pair.source), variant(pair.destination)];
  if (variants?.sees === "value" && source !== destination)
    return [difference(by, pair, source, destination)];
  const own = (text: string | undefined) => variants?.alternatives[text ?? ""];
  const all: Fields = { ...fields, ...own(source), ...own(destination) };
  return Object.entries(all).flatMap(([key, field]) => ofField(key, field, pair));
}

function ofField(key: string, field: Field<unknown>, pair: Pair): Difference[] {
  const { is, sees } = field;
  if (sees === "nothing") return [];
  const source = pair.source?.[key];
  const destination = pair.destination?.[key];
  if (is.kind === "child" && sees === "value") {
    const part = (value: unknown) => asPart(value ?? is.absent);
    const parts = { source: part(source), destination: part(destination) };
    const found = ofParts(is.type, parts);
    if (found.length === 0 || (parts.source !== undefined && parts.destination !== undefined)) return found;
    const given = (value: unknown) => (value === undefined ? undefined : "given");
    return [difference(key, pair, given(source), given(destination))];
  }
  if (is.kind === "list") return ofLists(is, asList(source), asList(destination));
  const seen = (value: unknown) =>
    sees === "value" ? value : sees === "presence" ? value !== undefined : sees.of(value);
  if (JSON.stringify(seen(source)) === JSON.stringify(seen(destination))) return [];
  const say = (value: unknown) => {
    if (value === undefined) return undefined;
    return is.kind === "child" ? `${seen(value)}` : written(field, value);
  };
  return [difference(key, pair, say(source), say(destination))];
}

function ofLists(
  { type, key: keyOf }: { type: ElementType<unknown>; key?(item: unknown): string },
  sources: readonly Part[],
  destinations: readonly Part[],
): Difference[] {
  const theirs = new Map(identified(destinations, keyOf));
  const found = identified(sources, keyOf).flatMap(([id, source]) => {
    const destination = theirs.get(id);
    theirs.delete(id);
    return destination === undefined
      ? missing("destination", source, id)
      : ofParts(type, { source, destination });
  });
  return [...found, ...[...theirs].map(([id, part]) => missing("source", part, id))];
}

/** Gives each part a key that matches its counterpart on the other side; equal keys are numbered in order. */
function identified(
  parts: readonly Part[],
  keyOf: ((item: unknown) => string) | undefined,
): [string, Part][] {
  const seen = new Map<string, number>();
  return parts.map((part) => {
    const key = keyOf?.(part) ?? "";
    const number = (seen.get(key) ?? 0) + 1;
    seen.set(key, number);
    return [[key, ...(number > 1 || key === "" ? [`${number}`] : [])].join(" ").trim(), part];
  });
}

/** The difference for a list element that only one side has. */
function missing(at: "source" | "destination", part: Part, id: string): Difference {
  const { path, ...place } = placeIn(part);
  const absent = { source: undefined, destination: undefined };
  const there = at === "source" ? "destination" : "source";
  return { path, ...absent, [there]: id, places: { ...absent, [there]: place } };
}

function difference(
  key: string,
  pair: Pair,
  source: string | undefined,
  destination: string | undefined,
): Difference {
  const place = (part: Part | undefined, value: string | undefined) => {
    if (!stands(part) || value === undefined) return undefined;
    const { line, column } = placeIn(part, key);
    return { line, column };
  };
  const places = { source: place(pair.source, source), destination: place(pair.destination, destination) };
  const parts = source === undefined ? [pair.destination, pair.source] : [pair.source, pair.destination];
  const part = parts.find(stands);
  return { path: part === undefined ? key : placeIn(part, key).path, source, destination, places };
}

function written({ is }: Field<unknown>, value: unknown): string {
  if (is.kind === "attribute" || is.kind === "text") return is.value.print(value);
  return is.kind === "flag" ? (value === true ? "yes" : "no") : JSON.stringify(value);
}

/** A default that stands in for an absent element has no place in the text. */
const stands = (part: Part | undefined): part is Part => part !== undefined && placeIn(part).path !== "";

const isPart = (value: unknown): value is Part => typeof value === "object" && value !== null;
const asPart = (value: unknown): Part | undefined => (isPart(value) ? value : undefined);
const asList = (value: unknown): readonly Part[] => (Array.isArray(value) ? value.filter(isPart) : []);
