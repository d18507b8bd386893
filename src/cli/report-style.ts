/** The looks of the report: light and dark, wide and narrow, screen and paper, with the system's own fonts. */
import { type Html, raw } from './html.ts'
import { chartStyle } from './report-charts.ts'

/** The whole style sheet, that of the charts included. */
export const styleSheet = (): Html => raw(`${chartStyle()}\n${looks}`)

// k0 .. k5 are the models' colours: the teacher is neutral, orange and blue stay apart for every colour vision.
const looks = `
:root {
  color-scheme: light dark;
  --page: #fff; --ink: #1a1d21; --muted: #5d646e; --line: #e3e6ea; --soft: #f5f6f8;
  --up: #0f7a3d; --down: #b3261e; --shade: rgb(0 0 0 / .2);
  --k0: #6b7380; --k1: #c2610c; --k2: #2459d6; --k3: #0b8378; --k4: #8a3fc7; --k5: #b8266a;
}
@media screen and (prefers-color-scheme: dark) {
  :root:not(.printing) {
    --page: #14171a; --ink: #e8eaed; --muted: #9aa2ac; --line: #2c3138; --soft: #1c2025;
    --up: #5fd08d; --down: #ff8a80; --shade: rgb(255 255 255 / .25);
    --k0: #a3abb6; --k1: #f2a055; --k2: #7ca7ff; --k3: #3fc9bb; --k4: #c792f5; --k5: #f484b4;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body {
  margin: 0 auto; padding: clamp(1.25rem, 5vw, 3.5rem) clamp(1rem, 4vw, 2.5rem); max-width: 72rem;
  background: var(--page); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
}
h1, h2, h3, p, ul, ol, dl, dd, figure { margin: 0; padding: 0; }
ul, ol { list-style: none; }
h1 { font-size: clamp(1.75rem, 5vw, 2.6rem); line-height: 1.15; letter-spacing: -0.02em; font-weight: 680; text-wrap: balance; overflow-wrap: break-word; }
h2 { font-size: 1.3rem; line-height: 1.3; letter-spacing: -0.01em; font-weight: 650; margin-bottom: .75rem; }
h3 { font-size: .95rem; font-weight: 650; margin: 1.25rem 0 .5rem; }
section { margin-top: clamp(2.25rem, 5vw, 3.5rem); }
.eyebrow, .meta, .note, figcaption, footer { color: var(--muted); font-size: .9rem; }
.eyebrow { margin-bottom: .4rem; }
.meta { margin-top: .6rem; display: flex; flex-wrap: wrap; gap: .1rem 1.5rem; }
.note { margin-bottom: .75rem; max-width: 46rem; text-wrap: pretty; }
.key { display: inline-block; width: .7em; height: .7em; margin-right: .55em; border-radius: 50%; background: currentColor; }
.key.k0 { color: var(--k0); } .key.k1 { color: var(--k1); } .key.k2 { color: var(--k2); }
.key.k3 { color: var(--k3); } .key.k4 { color: var(--k4); } .key.k5 { color: var(--k5); }
.aside .key { background: none; }
.swatch { display: inline-block; width: .95em; height: .95em; margin-right: .55em; vertical-align: -.1em; border-radius: 3px; box-shadow: inset 0 0 0 1px rgb(128 128 128 / .45); }
.key, .swatch, img { print-color-adjust: exact; -webkit-print-color-adjust: exact; }

.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); border-block: 1px solid var(--line); }
.figures li { padding: 1.1rem 1.25rem 1rem 0; }
.figures h2 { font-size: .95rem; font-weight: 550; letter-spacing: 0; margin: 0; color: var(--muted); }
.figures p { color: var(--muted); }
.figures strong { font-size: 2.6rem; line-height: 1.2; font-weight: 640; letter-spacing: -0.03em; color: var(--ink); font-variant-numeric: tabular-nums; }
.figures .distilled h2 { color: var(--ink); }
.figures .distilled strong { color: var(--k2); }
.lede { margin-top: 1.25rem; max-width: 42rem; font-size: 1.125rem; text-wrap: pretty; }

/* What is cut off casts a shadow from that side: the page's colour scrolls along and covers it at the end. */
.scroll {
  overflow-x: auto;
  background:
    linear-gradient(90deg, var(--page) 30%, transparent) left / 2rem 100% no-repeat local,
    linear-gradient(-90deg, var(--page) 30%, transparent) right / 2rem 100% no-repeat local,
    radial-gradient(farthest-side at 0 50%, var(--shade), transparent) left / .7rem 100% no-repeat scroll,
    radial-gradient(farthest-side at 100% 50%, var(--shade), transparent) right / .7rem 100% no-repeat scroll;
}
.scroll + .note { margin-top: .75rem; }
.scroll:focus-visible { outline: 2px solid var(--k2); outline-offset: 3px; border-radius: 2px; }
table.numbers { --pad: .5rem; border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
.numbers th, .numbers td { padding: var(--pad) 0 var(--pad) 1.25rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); font-weight: 400; }
.numbers thead th { font-size: .85rem; color: var(--muted); border-bottom-color: var(--muted); vertical-align: bottom; white-space: normal; line-height: 1.3; }
.numbers th:first-child { position: sticky; left: 0; background: var(--page); text-align: left; padding-left: 0; }
.numbers tbody th:first-child { padding-left: 1.6em; }
.numbers tbody th i { position: absolute; left: 0; top: calc(var(--pad) + .31em); }
.numbers tbody th .key { top: calc(var(--pad) + .43em); }
.numbers.plain tbody th:first-child { padding-left: 0; }
.numbers.told :is(th, td):last-child { text-align: left; }
.numbers .best { font-weight: 700; }
.numbers .aside > * { color: var(--muted); }
.numbers .up { color: var(--up); } .numbers .down { color: var(--down); }

.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 19rem), 1fr)); gap: 2rem 2.5rem; }
.charts figure { min-width: 0; }
.charts figcaption { margin-bottom: .5rem; }
.charts figcaption b { color: var(--ink); }
.plot { min-height: 17rem; }
.uplot, .u-legend { font-family: inherit; }
.u-legend.u-inline { margin: .35rem 0 0; text-align: left; font-size: .85rem; font-variant-numeric: tabular-nums; }
.u-legend.u-inline tr { margin-right: 1.1rem; }
.u-legend .faint { display: none; }
.u-legend.u-inline .u-series > * { padding: 0; vertical-align: baseline; }
.u-legend th > * { vertical-align: baseline; }
.u-legend.u-inline .u-series > td { padding-left: .35em; font-weight: 600; }
.u-legend.u-inline.u-live th::after { content: none; }
.u-legend th { font-weight: 400; }
.u-legend th .u-marker { width: .7em; height: .7em; margin-right: .45em; border-radius: 50%; }
.u-legend tr:first-child .u-marker { display: none; }
.u-legend .k0 .u-marker { background: var(--k0) !important; } .u-legend .k1 .u-marker { background: var(--k1) !important; }
.u-legend .k2 .u-marker { background: var(--k2) !important; } .u-legend .k3 .u-marker { background: var(--k3) !important; }
.u-legend .k4 .u-marker { background: var(--k4) !important; } .u-legend .k5 .u-marker { background: var(--k5) !important; }

.classes { display: flex; flex-wrap: wrap; gap: .25rem 1.4rem; margin-bottom: 1.25rem; font-size: .9rem; }
.gallery { display: grid; gap: 1.5rem; }
.gallery li { display: grid; grid-auto-flow: column; grid-auto-columns: minmax(0, 1fr); gap: .75rem; }
.gallery img { display: block; width: 100%; height: auto; border-radius: 4px; background: var(--soft); }
.gallery img.small { image-rendering: pixelated; }
.gallery figcaption { margin-top: .35rem; font-size: .85rem; line-height: 1.35; overflow-wrap: anywhere; display: flex; justify-content: space-between; gap: .5em; }
.gallery figcaption b { font-weight: 550; white-space: nowrap; color: var(--ink); font-variant-numeric: tabular-nums; }

.panels { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 21rem), 1fr)); gap: 1rem 2rem; }
.panels svg { width: 100%; height: auto; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
.columns { display: flex; gap: .5rem; }
.columns figure { flex: 1 0 5.5rem; max-width: 10rem; }
.columns .pair { flex: 2 0 11rem; max-width: 20rem; }
.columns img { display: block; width: 100%; height: auto; image-rendering: pixelated; }
.columns figcaption { margin-bottom: .35rem; overflow-wrap: anywhere; }
.command { overflow-wrap: anywhere; }

.pairs { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 19rem), 1fr)); gap: 0 2.5rem; font-size: .9rem; }
.pairs div { display: flex; justify-content: space-between; gap: 1.25rem; padding: .35rem 0; border-bottom: 1px solid var(--line); }
.pairs dt { color: var(--muted); }
.pairs dd { text-align: right; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
.numbers .bars { width: 38%; min-width: 4rem; padding-left: .6rem; }
.numbers .bars i { display: block; height: .55rem; border-radius: 3px; background: var(--k2); min-width: 1px; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
.confusion { display: block; width: 100%; height: auto; font-variant-numeric: tabular-nums; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
.confusion text { fill: var(--ink); }
.confusion g text { font-size: 12px; }
.confusion .over { fill: var(--page); }
.confusion .right { fill: var(--k2); } .confusion .wrong { fill: var(--k1); }
.confusion .frame { fill: none; stroke: var(--line); }
.kernels { margin: 0; font: .8rem/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
footer { margin-top: 3.5rem; padding-top: 1rem; border-top: 1px solid var(--line); }

@media screen and (max-width: 44rem) {
  .figures { grid-template-columns: 1fr; }
  .figures li { display: flex; justify-content: space-between; align-items: baseline; padding: .55rem 0; }
  .figures li + li { border-top: 1px solid var(--line); }
  .figures strong { font-size: 1.75rem; }
  .numbers { font-size: .875rem; }
  .numbers th, .numbers td { padding-left: .5rem; }
  .numbers thead th { font-size: .75rem; }
  .numbers tbody th { white-space: normal; min-width: 6.25rem; line-height: 1.35; }
  .gallery li { grid-auto-flow: row; grid-template-columns: 1fr 1fr; }
  .gallery figure:first-child:nth-last-child(odd) { grid-column: 1 / -1; }
}
@media print {
  @page { margin: 16mm 14mm; }
  body { padding: 0; max-width: none; font-size: 10.5pt; }
  section { margin-top: 1.75rem; }
  tr, .note, .classes, .charts figure, .gallery li, .pairs div, .figures { break-inside: avoid; }
  h2, h3, .note, .classes { break-after: avoid; }
  .charts, .panels { grid-template-columns: 1fr 1fr; gap: 1rem; }
  .columns figure, .columns .pair { flex-basis: 0; }
  .columns, .panels svg { break-inside: avoid; }
  .u-legend .u-value, .u-legend tr:first-child { display: none !important; }
  .gallery { gap: 1rem; }
  .scroll { overflow: visible; background: none; }
  table.numbers { --pad: .3rem; }
  .pairs { grid-template-columns: repeat(3, 1fr); gap: 0 1.25rem; font-size: .75rem; }
  .pairs div { padding-block: .2rem; gap: .6rem; }
  .kernels { font-size: 5.5pt; white-space: pre; }
  .confusion { min-width: 0 !important; break-inside: avoid; }
  .numbers th:first-child { position: relative; background: none; }
}
`
