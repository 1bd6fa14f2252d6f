// Replaces node:zlib in a browser, as far as drivers/platform/checked-lines.ts uses it.

import { str } from "crc-32";

export const crc32 = (text: string): number => str(text) >>> 0;
