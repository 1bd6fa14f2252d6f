// The kinds of value that stand in attributes and texts: how each reads, how it is written, and how the documentation
// says it. A text that is no such value reads as undefined, never as something near it.

export interface Value<T> {
  /** For the documentation and for refusals: `on | off`, `0 to 31`. */
  readonly says: string;
  /** Every text that may be a value; not all of them are. */
  readonly looks: RegExp;
  /** Of a number: the lowest and the highest. */
  readonly range?: readonly [number, number];
  parse(text: string): T | undefined;
  print(value: T): string;
}

/** One of a few words. */
export const word = <const Words extends readonly [string, ...string[]]>(
  ...words: Words
): Value<Words[number]> => ({
  says: words.join(" | "),
  looks: new RegExp(`^(?:${words.map((item) => item.replaceAll(/[.+]/g, "\\$&")).join("|")})$`),
  parse: (text) => words.find((candidate) => candidate === text),
  print: (value) => value,
});

const truth = (yes: string, no: string): Value<boolean> => ({
  says: `${yes} | ${no}`,
  looks: new RegExp(`^(?:${yes}|${no})$`),
  parse: (text) => (text === yes ? true : text === no ? false : undefined),
  print: (value) => (value ? yes : no),
});
export const yesNo = truth("yes", "no");
export const onOff = truth("on", "off");

const within = (value: number, min: number, max: number) =>
  Number.isSafeInteger(value) && value >= min && value <= max ? value : undefined;

/** A whole number; spaces around it do not matter. */
export const whole = (min: number, max: number): Value<number> => ({
  says: `${min} to ${max}`,
  looks: /^-?\d{1,16}$/,
  range: [min, max],
  parse: (text) => (/^\s*-?\d{1,16}\s*$/.test(text) ? within(Number(text), min, max) : undefined),
  print: String,
});

/** A whole number that libvirt writes in hex, and reads in both ways. */
export const hex = (digits: number, max: number): Value<number> => ({
  says: `0 to 0x${max.toString(16)}`,
  looks: /^0x[\da-f]{1,8}$/,
  range: [0, max],
  parse: (text) => (/^(?:0x[\da-fA-F]{1,8}|\d{1,10})$/.test(text) ? within(Number(text), 0, max) : undefined),
  print: (value) => `0x${value.toString(16).padStart(digits, "0")}`,
});

/** A text that looks like the pattern, which is anchored at both ends. */
export const text = (says: string, looks: RegExp): Value<string> => ({
  says,
  looks,
  parse: (item) => (looks.test(item) ? item : undefined),
  print: (value) => value,
});

/** All that XML can hold, but for the carriage return, which it would not give back. */
export const anyText = text("any text", /^[\t\n\u0020-\uD7FF\uE000-\uFFFC\u{10000}-\u{10FFFF}]*$/u);
export const someText = text("some text", /^[\t\n\u0020-\uD7FF\uE000-\uFFFC\u{10000}-\u{10FFFF}]+$/u);
/** A path from the root; QEMU would look for another in places of its own. */
export const path = text("an absolute path", /^\/[^\0\n]{0,4095}$/);
/** As libvirt writes it, in small letters; read in either. */
export const uuid: Value<string> = {
  says: "a UUID",
  looks: /^[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}$/,
  parse: (item) => {
    const digits = item.trim().toLowerCase().replaceAll("-", "");
    return /^[\da-f]{32}$/.test(digits)
      ? digits.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5")
      : undefined;
  },
  print: (value) => value,
};
/** A unicast MAC address, as libvirt writes it. */
export const mac: Value<string> = {
  says: "a unicast MAC address",
  looks: /^[\da-f][02468ace](?::[\da-f]{2}){5}$/,
  parse: (item) => {
    const small = item.toLowerCase();
    return /^[\da-f][02468ace](?::[\da-f]{2}){5}$/.test(small) ? small : undefined;
  },
  print: (value) => value,
};
