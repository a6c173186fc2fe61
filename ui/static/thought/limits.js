/** The most that is drawn of a record. */

export const MAX_TICKS = 5000;
export const MAX_POSITIONS = 4096;
export const MAX_HEADS = 16;
