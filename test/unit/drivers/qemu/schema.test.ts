import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import * as z from "zod/mini";
import { systemClock } from "../../../../src/drivers/platform/clock.js";
import { neededCapabilities } from "../../../../src/drivers/qemu/migration/option-table.js";
import { commands, events } from "../../../../src/drivers/qemu/monitor/commands.js";
import { QemuProcess } from "../../../../src/drivers/qemu/process/process.js";
import { groupOf, memoryRows, rowOf } from "../../../../src/protocol/options/table.js";
import { patienceMs } from "../../../support/patience.js";
import { secondQemu } from "../../../support/second-qemu.js";

const schemaType = z.looseObject({
  name: z.string(),
  "meta-type": z.string(),
  "arg-type": z.optional(z.string()),
  "ret-type": z.optional(z.string()),
  "element-type": z.optional(z.string()),
  "json-type": z.optional(z.string()),
  "allow-oob": z.optional(z.boolean()),
  values: z.optional(z.array(z.string())),
  members: z.optional(
    z.array(
      z.looseObject({
        name: z.optional(z.string()),
        type: z.optional(z.string()),
        default: z.optional(z.unknown()),
      }),
    ),
  ),
  variants: z.optional(z.array(z.looseObject({ case: z.string(), type: z.string() }))),
});
type SchemaType = z.infer<typeof schemaType>;
type Shape = {
  type?: string;
  const?: unknown;
  enum?: unknown[];
  properties?: Record<string, Shape>;
  required?: string[];
  items?: Shape;
  anyOf?: Shape[];
  oneOf?: Shape[];
};

/** Returns every difference between our description of a type and QEMU's. */
function differences(
  at: string,
  ours: Shape,
  typeName: string,
  schema: Map<string, SchemaType>,
  direction: "sent" | "received",
): string[] {
  const theirs = schema.get(typeName);
  if (theirs === undefined) return [`${at}: QEMU has no type ${typeName}`];
  const either = ours.anyOf ?? ours.oneOf;
  if (either !== undefined)
    return either.flatMap((shape) => differences(at, shape, typeName, schema, direction));
  if (theirs["meta-type"] === "array") {
    if (ours.type !== "array" || ours.items === undefined) return [`${at}: QEMU says array`];
    return differences(`${at}[]`, ours.items, theirs["element-type"] ?? "", schema, direction);
  }
  if (theirs["meta-type"] === "alternate") {
    const each = (theirs.members ?? []).map(({ type }) =>
      differences(at, ours, type ?? "", schema, direction),
    );
    return each.some((items) => items.length === 0) ? [] : each.flat();
  }
  if (theirs["meta-type"] === "enum") {
    const values = ours.const === undefined ? ours.enum : [ours.const];
    if (ours.type !== "string" && values === undefined)
      return [`${at}: we say ${ours.type}, QEMU says an enum`];
    return (values ?? [])
      .filter((value) => !theirs.values?.includes(String(value)))
      .map((value) => `${at}: QEMU has no value ${String(value)}`);
  }
  if (theirs["meta-type"] === "builtin") {
    const json = theirs["json-type"] === "int" ? "number" : theirs["json-type"];
    return ours.type === json ? [] : [`${at}: we say ${ours.type}, QEMU says ${json}`];
  }
  if (theirs["meta-type"] !== "object") return [`${at}: QEMU says ${theirs["meta-type"]}`];
  if (ours.type !== "object") return [`${at}: we say ${ours.type}, QEMU says object`];
  const variants = (theirs.variants ?? []).flatMap(({ type }) =>
    (schema.get(type)?.members ?? []).map((member) => ({ ...member, default: null })),
  );
  const members = [...(theirs.members ?? []), ...variants];
  const required = ours.required ?? [];
  const wrong = Object.entries(ours.properties ?? {}).flatMap(([name, shape]) => {
    // One of those that have it: variants are distinguished by the constants that we send.
    const having = members.filter((member) => member.name === name);
    if (having.length === 0) return [`${at}.${name}: QEMU has no such member`];
    const each = having.map((member) =>
      direction === "received" && "default" in member && required.includes(name)
        ? [`${at}.${name}: optional in QEMU`]
        : differences(`${at}.${name}`, shape, member.type ?? "", schema, direction),
    );
    return each.find((items) => items.length === 0) ?? each.flat();
  });
  const missing = members.filter(
    (member) => direction === "sent" && !("default" in member) && !required.includes(member.name ?? ""),
  );
  return [...wrong, ...missing.map((member) => `${at}.${member.name}: QEMU requires it`)];
}

const shapeOf = (type: z.ZodMiniType) => z.toJSONSchema(type, { io: "input" }) as Shape;

/** Commands and members that not every QEMU has: their presence is checked before their use. */
const notEverywhere = [
  "migrate-incoming.exit-on-error",
  ...memoryRows.flatMap(({ name, qemu }) => {
    const group = groupOf(name);
    const { since, until } = (qemu?.of === undefined && group !== undefined ? rowOf(group).qemu : qemu) ?? {};
    if (qemu?.parameter === undefined || (since === undefined && until === undefined)) return [];
    return ["migrate-set-parameters", "query-migrate-parameters's answer"].map(
      (at) => `${at}.${qemu.parameter}`,
    );
  }),
].map((member) => `${member}: QEMU has no such member`);
const missed = new Map<string, Set<string>>();
const binaries = ["qemu-system-x86_64", ...(secondQemu === null ? [] : [secondQemu])];

describe.each(binaries)("the monitor's table, compared with %s,", (binary) => {
  const wrongIn = (found: string[]) => {
    const absent = found.filter((member) => notEverywhere.includes(member));
    for (const member of absent) missed.set(member, (missed.get(member) ?? new Set()).add(binary));
    return found.filter((member) => !absent.includes(member));
  };
  let qemu: QemuProcess;
  const schema = new Map<string, SchemaType>();
  beforeAll(async () => {
    const spec = {
      name: "schema",
      binary,
      uuid: randomUUID(),
      args: ["-machine", "none", "-nodefaults", "-display", "none", "-S"],
    };
    qemu = await QemuProcess.start(spec, { clock: systemClock });
    const raw = await qemu.main.session.execute("query-qmp-schema", {}, { limitMs: patienceMs });
    for (const member of z.array(schemaType).parse(raw)) schema.set(member.name, member);
  });
  afterAll(async () => {
    qemu.signal("SIGKILL");
    await qemu.exited;
  });

  test.each(Object.entries(commands))(
    "describes %s as the real QEMU does",
    (name, { arguments: args, returns }) => {
      const command = schema.get(name);
      expect(command?.["meta-type"]).toBe("command");
      const sent = differences(name, shapeOf(args), command?.["arg-type"] ?? "", schema, "sent");
      const answer = differences(
        ...([`${name}'s answer`, shapeOf(returns), command?.["ret-type"] ?? "", schema, "received"] as const),
      );
      expect(wrongIn([...sent, ...answer])).toEqual([]);
    },
  );

  test.each(Object.entries(events))("describes the event %s as the real QEMU does", (name, data) => {
    const event = schema.get(name);
    expect(event?.["meta-type"]).toBe("event");
    expect(differences(name, shapeOf(data), event?.["arg-type"] ?? "", schema, "received")).toEqual([]);
  });

  test("is reported by name and place where it differs", () => {
    const of = (type: z.ZodMiniType) =>
      differences("x", shapeOf(type), schema.get("query-status")?.["ret-type"] ?? "", schema, "received");
    expect(of(z.looseObject({ runing: z.boolean() }))).toEqual(["x.runing: QEMU has no such member"]);
    expect(of(z.looseObject({ running: z.string() }))).toEqual([
      "x.running: we say string, QEMU says boolean",
    ]);
    expect(of(z.looseObject({ status: z.number() }))).toEqual(["x.status: we say number, QEMU says an enum"]);
    expect(of(z.array(z.string()))).toEqual(["x: we say array, QEMU says object"]);
    const sent = schema.get("migrate-continue")?.["arg-type"] ?? "";
    expect(differences("y", shapeOf(z.strictObject({})), sent, schema, "sent")).toEqual([
      "y.state: QEMU requires it",
    ]);
    expect(
      differences("y", shapeOf(z.strictObject({ state: z.enum(["soon"]) })), sent, schema, "sent"),
    ).toEqual(["y.state: QEMU has no value soon"]);
  });

  test("contains the capabilities that the guarantees need, and yank out of band", async () => {
    const known = (await qemu.main.execute("query-migrate-capabilities", {})).map(
      (capability) => capability.capability,
    );
    for (const neededCapability of neededCapabilities({})) expect(known).toContain(neededCapability);
    expect(schema.get("yank")?.["allow-oob"]).toBe(true);
    expect(qemu.rescue.session.hasOob).toBe(true);
  });
});

test.skipIf(secondQemu === null)(
  "each optional part of the monitor's table exists in one of two QEMUs",
  () => {
    for (const member of notEverywhere) expect(missed.get(member)?.size, member).toBe(1);
  },
);
