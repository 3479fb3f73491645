
// learn.js: training, temperature, the mistakes, and what one may predict before it is shown.

const runs = new Map(); // of the two training runs, the last ones asked for

function trained(family, eps, K) {
  const key = `${family} ${eps} ${K}`;
  if (!runs.has(key)) {
    if (runs.size > 8) runs.clear();
    const gaps = [0];
    for (let t = 0; t < LONGEST; t++) gaps.push(core.descent[family]({ gap: gaps[t], epsilon: eps, n_classes: K, rate: RATE }).next_gap);
    runs.set(key, gaps);
  }
  return runs.get(key);
}

// A slider from 0 to 100 stands for 0 to 2,000 steps on a logarithmic scale.
const timeOf = (place) => Math.round(Math.expm1((place / 100) * Math.log1p(LONGEST)));
const placeOf = (time) => Math.round((Math.log1p(time) / Math.log1p(LONGEST)) * 100);

function drawTrain({ state, names, best, y, K }) {
  const hard = trained(state.family, 0, K), smooth = trained(state.family, state.eps, K), t = state.time, g = best.optimum_gap;
  const rests = smooth[LONGEST] - smooth[LONGEST / 2] < 5e-4, still = smooth.findIndex((gap) => Math.abs(gap - g) < 5e-4);
  say("says-train", "After ", strong(`${t.toLocaleString("en")} steps`), ` ${names[y]} leads by `, strong(number(hard[t], 2)), " without smoothing, ", t < LONGEST ? "and " : "still climbing, and ", "by ", strong(number(smooth[t], state.eps > 0 ? 3 : 2)), ` with ε = ${trim(state.eps, 4)}`,
    state.eps === 0 ? ": the same run." : still > 0 && t >= still ? `: at rest since step ${still}.` : rests ? "." : ", on its way to ", state.eps > 0 && !rests && !(still > 0 && t >= still) ? `${number(g)}.` : "");
  figure("train", 216, "says-train", (svg, W) => {
    const left = 26, base = 180, top = Math.max(9, hard[LONGEST], Number.isFinite(g) ? g : 0) * 1.08, right = W - 4, bottom = Math.min(0, ...smooth) * 1.1;
    const x = (step) => left + (Math.log1p(step) / Math.log1p(LONGEST)) * (right - left), h = (gap) => base - ((gap - bottom) / (top - bottom)) * (base - 12);
    for (const at of [0, 1, 10, 100, 1000]) svg.append(line(x(at), base, x(at), 10, "grid"), text(x(at), base + 16, at.toLocaleString("en"), "soft small"));
    for (const at of bottom < 0 ? [-6, -3, 0, 3, 6, 9] : [0, 3, 6, 9]) if (at >= bottom) svg.append(text(left - 5, h(at) + 4, minus(String(at)), "soft small", "end"));
    svg.append(line(left, base, right, base, "axis"), text(right, base + 32, "steps of gradient descent →", "soft small", "end"), text(left + 4, 12, "lead of the right logit", "soft small", "start"));
    const points = (gaps, until) => Array.from({ length: 101 }, (_, i) => timeOf(i)).filter((s, i, all) => s <= until && s !== all[i - 1]).concat(until).map((s) => [x(s), h(gaps[s])]);
    if (Number.isFinite(g)) svg.append(line(left, h(g), right, h(g), "ghost"));
    svg.append(path(points(hard, t), "line-model"), path(points(smooth, t), "line-label"));
    svg.append(make("circle", { cx: x(t), cy: h(hard[t]), r: 4.5, class: "model" }), make("circle", { cx: x(t), cy: h(smooth[t]), r: 4.5, class: "label" }));
    const end = x(t) > W * 0.6, side = end ? -9 : 9, anchor = end ? "end" : "start", apart = hard[t] - smooth[t] > top * 0.1;
    svg.append(text(x(t) + side, h(hard[t]) - 8, `ε = 0: ${number(hard[t], 2)}`, "model strong", anchor));
    if (state.eps > 0) svg.append(text(x(t) + side, h(smooth[t]) + (apart ? -9 : 20), `ε = ${trim(state.eps, 4)}: ${number(smooth[t], 2)}`, "label strong", anchor));
  });
}

// Both tabs of panel 7 stand at the same step.
function drawSteps({ state: { time } }) {
  const slider = byId("time");
  slider.value = placeOf(time);
  slider.setAttribute("aria-valuetext", `${time} steps`);
  byId("time-out").textContent = time.toLocaleString("en");
}

// The temperature at which the label has the probability that smoothing asks for: halving, as p falls while T rises.
function temperatureFor({ v, given, best, n, y }) {
  const row = { logits: [v.logits[n]], target: [v.target[n]], n_rows: 1, n_classes: given.n_classes };
  const at = (T) => core.heated({ ...row, temperature: T }).heated_softmax[0];
  let [low, high] = [1e-3, 1e3];
  for (let i = 0; i < 60; i++) {
    const middle = Math.sqrt(low * high);
    if (at(middle)[y] > best.on) low = middle; else high = middle;
  }
  return { T: low, p: at(low) };
}

function drawHeat(view) {
  const { state, names, v, best, n, y, K } = view, z = v.logits[n], top = z.every((other, k) => k === y || other < z[y]);
  const lowest = 1 / K < best.on;
  if (!top || !lowest || state.eps === 0) {
    say("says-heat", state.eps === 0 ? "At ε = 0 there is nothing to match: give ε a value." : !lowest ? "At so large an ε the label is to be no likelier than the others: no temperature does that." : strong(`No temperature makes ${names[y]} the answer: `), !top && state.eps > 0 && lowest ? "dividing all logits by one number keeps their order, and here another class leads. Smoothing trains, so it can." : "");
    byId("fig-heat").replaceChildren();
    return;
  }
  const { T, p } = temperatureFor(view), q = v.target[n];
  const ranked = names.map((_, k) => k).filter((k) => k !== y).sort((a, b) => z[b] - z[a]).slice(0, 6);
  say("says-heat", "Dividing by ", strong(`T = ${number(T, 2)}`), ` gives ${names[y]} the same `, strong(number(best.on)), " that smoothing asks for. But of the rest, temperature leaves ", strong(`${names[ranked[0]]} ${number(p[ranked[0]])}`), ranked.length > 1 ? ` and ${names[ranked.at(-1)]} ${number(p[ranked.at(-1)])}; smoothing wants ` : "; smoothing wants ", strong(`${trim(best.off, 4)} for each`), ".", K === 2 ? " With one wrong class the two cannot be told apart: take more." : "");
  const pitch = 26, high = 26 + ranked.length * pitch;
  figure("heat", high, "says-heat", (svg, W) => {
    const left = Math.min(96, W * 0.26), half = (W - left) / 2, most = Math.max(...ranked.map((k) => p[k]), best.off);
    svg.append(text(left, 12, W < 360 ? "■ cooled" : `■ cooled: T = ${number(T, 2)}`, "model strong", "start"), text(left + half, 12, W < 360 ? "■ smoothed" : "■ trained with ε", "label strong", "start"));
    ranked.forEach((k, i) => {
      const at = 22 + i * pitch, long = (x) => (x / most) * (half - 58);
      svg.append(text(left - 8, at + 13, short(names[k], Math.floor(left / 7.4)), "soft", "end"));
      svg.append(rect(left, at, long(p[k]), 18, "model", { "data-k": k }), text(left + long(p[k]) + 5, at + 13, number(p[k]), "small", "start"));
      svg.append(rect(left + half, at, long(q[k]), 18, "label", { "data-k": k }), text(left + half + long(q[k]) + 5, at + 13, number(q[k]), "small", "start"));
    });
  });
}

function mistakenly({ v, given, state }, wrong) {
  const target = core.target[wrong.target](given), log = core.logarithm[wrong.logarithm](given);
  const made = core.mistaken({ ...given, target: target.target, wrong_log: log.wrong_log, base_ten: wrong.ten, summed: wrong.sum });
  return { ...made, target, ...core.compared({ wrong_loss: made.wrong_loss, row_loss: core.loss[0](given).row_loss, n_rows: given.n_rows }) };
}

const alike = (values) => Math.max(...values) - Math.min(...values) < 1e-9 * Math.max(1, ...values.map(Math.abs));
const COMMON = [[1 / Math.LN10, "1/ln 10: the mark of LOG for LN"]];

// What the numbers themselves give away, and the words of the conventions for a target.
function signature(made, wrong, rows) {
  const said = [], family = DATA.wrong[wrong.target];
  if (alike(made.difference) && Math.abs(made.difference[0]) < 1e-12) said.push("Every row is right.");
  else if (alike(made.ratio)) said.push(`Every row is × ${number(made.ratio[0], 4)}${COMMON.filter(([x]) => Math.abs(x - made.ratio[0]) < 1e-9).map(([, says]) => `, which is ${says}`).join("")}.`);
  else if (alike(made.difference)) said.push(`Every row is off by the same ${signed(made.difference[0], 4)}.`);
  else said.push(`The ratio differs from row to row, ${number(Math.min(...made.ratio), 2)} to ${number(Math.max(...made.ratio), 2)}.`);
  if (wrong.target > 0) {
    said.push(`The target: ${family.says}.`);
    if (made.target.same_epsilon !== undefined) said.push(`It is the paper’s target at ε = ${trim(made.target.same_epsilon, 4)}.`);
  }
  if (wrong.logarithm === "missing") said.push(`Logits stand where ln p belongs${made.wrong_loss.some((x) => x < 0) ? ": a loss below 0 gives it away" : ""}${wrong.ten ? "; they are divided by ln 10 all the same" : ""}.`);
  if (wrong.logarithm === "twice") said.push("Probabilities were taken for logits: no loss can come near 0, and none is large.");
  if (wrong.sum) said.push(`The batch is × ${rows}, the number of rows: a sum stands where the mean is meant.`);
  return said.join(" ");
}

const anyMistake = ({ target, logarithm, ten, sum }) => target > 0 || logarithm !== "once" || ten > 0 || sum > 0;

function drawMistakes(view) {
  const { state, preset, rows, v, shown } = view, wrong = state.wrong, made = mistakenly(view, wrong), right = core.loss[0](view.given);
  const pure = state.eps === DATA.eps && view.rows.length === preset.rows.length && preset.published.length > 0;
  say("says-mistake", anyMistake(wrong) ? signature(made, wrong, rows.length) : "No mistake is switched on: both columns hold the paper’s loss.");
  const head = ["row", ...(pure ? ["published"] : []), "right", "with the mistake", "ratio"];
  const body = rows.map((name, n) => [name, ...(pure ? [preset.published[shown[n]].toFixed(4)] : []), number(right.row_loss[n], 4), number(made.wrong_loss[n], 4), number(made.ratio[n], 4)]);
  body.push([wrong.sum ? "batch: sum for mean" : "batch: mean", ...(pure ? [""] : []), number(right.loss, 4), number(made.wrong_batch, 4), ""]);
  byId("mistakes").replaceChildren(make("thead", {}, make("tr", {}, ...head.map((h) => make("th", { scope: "col" }, h)))),
    make("tbody", {}, ...body.map((cells) => make("tr", {}, make("th", { scope: "row" }, cells[0]), ...cells.slice(1).map((c) => make("td", {}, c))))));
  byId("wrong-target").value = wrong.target;
  byId("wrong-logarithm").value = wrong.logarithm;
  byId("wrong-base").value = wrong.ten;
  byId("wrong-sum").value = wrong.sum;
  drawQuiz(view);
}

const right = { target: 0, logarithm: "once", ten: 0, sum: 0 };
const QUIZ = [["LOG for LN", { ...right, ten: 1 }], ["softmax twice", { ...right, logarithm: "twice" }], ["ε/(K−1) for ε/K", { ...right, target: 1 }], ["softmax missing", { ...right, logarithm: "missing" }], ["smoothed twice", { ...right, target: 4 }]];
const quiz = { at: 0 };

function drawQuiz(view) {
  const { rows, given } = view, made = mistakenly(view, QUIZ[quiz.at][1]), true_ = core.loss[0](given);
  const some = rows.slice(0, 2).map((name, n) => [name, number(made.wrong_loss[n], 4), number(true_.row_loss[n], 4)]);
  say("quiz-question", strong("Which mistake is it? "), ...some.map(([name, bad, good], i) => `${i ? " And for" : "For"} ${name} somebody’s sheet says ${bad} where PyTorch says ${good}.`));
}
