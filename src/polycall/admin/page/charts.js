// Charts as SVG, and the same numbers as a table.
import { h, s, t, table, number, clock } from "/console/console.js";

const W = 480, H = 150, LEFT = 58, BOTTOM = 18, TOP = 6;

// series: [{name, points: [[seconds, value or null]]}]; gives a figure that `draw` fills again.
export function chart(title, format = number) {
  const figure = h("figure", {}, h("figcaption", {}, title));
  const plot = h("div"), legend = h("ul", { class: "legend" }), rows = h("div"), note = h("div", { class: "muted" });
  const details = h("details", {}, h("summary", {}, t("Show as a table")), rows);
  figure.append(plot, legend, note, details);
  figure.remark = (words) => note.replaceChildren(words);
  let last = { series: [], since: 0, until: 1 };
  const fill = () => {
    if (!details.open) return rows.replaceChildren();
    const times = [...new Set(last.series.flatMap((one) => one.points.map((p) => p[0])))].sort((a, b) => b - a);
    const maps = last.series.map((one) => new Map(one.points));
    rows.replaceChildren(table(title, [t("Time"), ...last.series.map((one) => one.name)],
      times.slice(0, 300).map((at) => [clock(at), ...maps.map((m) => m.get(at) == null ? "–" : format(m.get(at)))]), 1));
  };
  details.addEventListener("toggle", fill);
  figure.draw = (series, since, until) => {
    last = { series, since, until };
    const values = series.flatMap((one) => one.points.map((p) => p[1])).filter((v) => v != null);
    const top = nice(Math.max(0, ...values));
    const x = (at) => LEFT + (W - LEFT - 4) * (at - since) / (until - since || 1);
    const y = (v) => H - BOTTOM - (H - BOTTOM - TOP) * (v / top);
    const words = series.map((one) => {
      const own = one.points.map((p) => p[1]).filter((v) => v != null);
      return `${one.name}: ${own.length ? `${t("last")} ${format(own[own.length - 1])}, ${t("most")} ${format(Math.max(...own))}` : t("nothing yet")}`;
    }).join("; ");
    const svg = s("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": `${title}. ${words || t("nothing yet")}` });
    for (const share of [0, 0.5, 1]) {
      svg.append(s("line", { x1: LEFT, x2: W - 4, y1: y(top * share), y2: y(top * share), class: "grid" }),
        s("text", { x: LEFT - 4, y: y(top * share) + 4, "text-anchor": "end" }, format(top * share)));
    }
    for (const [at, anchor] of [[since, "start"], [(since + until) / 2, "middle"], [until, "end"]])
      svg.append(s("text", { x: x(at), y: H - 4, "text-anchor": anchor }, clock(at, until - since)));
    series.slice(0, 6).forEach((one, place) => {
      let path = "", open = false;
      one.points.forEach(([at, v], n) => {
        if (v == null) { open = false; return; }
        path += `${open ? "L" : "M"}${x(at).toFixed(1)} ${y(v).toFixed(1)}`;
        // A point without neighbours is no line.
        if (!open && one.points[n + 1]?.[1] == null) svg.append(s("circle", { cx: x(at), cy: y(v), r: 2.5, class: `dot c${place}` }));
        open = true;
      });
      svg.append(s("path", { d: path, class: `plot c${place}`, "data-series": one.name }));
    });
    plot.replaceChildren(svg);
    legend.replaceChildren(...series.slice(0, 6).map((one, place) => h("li", {},
      s("svg", { viewBox: "0 0 24 8", "aria-hidden": "true" }, s("path", { d: "M0 4h24", class: `plot c${place}` })), one.name)));
    fill();
  };
  return figure;
}

function nice(value) {
  if (!(value > 0)) return 1;
  const size = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 2.5, 5, 10].map((m) => m * size).find((v) => v >= value);
}

// As much of a text as has room; letters of East Asia take two places.
function cut(text, places) {
  let width = 0, kept = "";
  for (const one of text) {
    width += one > "\u1100" ? 2 : 1;
    if (width > places) return `${kept}…`;
    kept += one;
  }
  return text;
}

// What took how long in one request: spans of {name, kind, began_ms, ended_ms, note}.
export function waterfall(title, spans) {
  const end = Math.max(1, ...spans.map((one) => one.ended_ms));
  const svg = s("svg", { viewBox: `0 0 ${W} ${spans.length * 34 + 4}`, role: "img", class: "waterfall", "aria-label": title });
  spans.forEach((one, place) => {
    const x = W * one.began_ms / end, width = Math.max(2, W * (one.ended_ms - one.began_ms) / end), y = place * 34;
    const words = `${cut(one.name, 36)} · ${t(one.kind)} · ${number(one.ended_ms - one.began_ms)} ms${one.note ? ` · ${cut(one.note, 16)}` : ""}`;
    svg.append(s("text", { x: 0, y: y + 12 }, words), s("rect", { x, y: y + 16, width, rx: 2, class: `bar ${one.kind}` }));
  });
  return h("figure", {}, h("figcaption", {}, title), svg, h("details", {}, h("summary", {}, t("Show as a table")),
    table(title, [t("Target"), t("What"), t("From (ms)"), t("To (ms)"), t("Note")],
      spans.map((one) => [one.name, t(one.kind), number(one.began_ms), number(one.ended_ms), one.note || ""]), 0)));
}
