// Prints the output of all commands. Text from hosts, guests, stories and QEMU is made safe for a terminal here.

import { printable, printableJson } from "../protocol/printable.js";

/** Prints one line on stdout. */
export const say = (sentence: string): void => console.log(printable(sentence));

/** Prints one line on stderr. */
export const warn = (sentence: string): void => console.error(`switchover: ${printable(sentence)}`);

/** Prints one line of JSON on stdout, for programs. */
export const sayJson = (value: unknown): void => console.log(printableJson(value));
