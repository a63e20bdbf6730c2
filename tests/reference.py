"""The paper's equations (arXiv 2502.20141) written out in NumPy float64, to test against.

Plain formulas in the scaling domain, one function an equation, nothing shared with the library.
Excluded pairs have infinite cost. `target` is a dense matrix in the layout of the kernel.
"""

import numpy as np

# --- embeddings -> costs -------------------------------------------------------------------


def unit(z):
    z = np.asarray(z, np.float64)
    length = np.linalg.norm(z, axis=1, keepdims=True)
    return z / np.where(length > 0, length, 1.0)  # a row of zeros stays one


def cost_matrix(
    z_a, z_b, layout="cross", similarity_floor=None, self_pairs="exclude", cost=None, ignored=None
):
    """C_ij = 1 - cos, or cost(x, y) of unit vectors. Joint: all views against all views.

    Pairs of samples that are `ignored` [n, m] have infinite cost.
    """
    rows, columns = unit(z_a), unit(z_b)
    if layout == "joint":
        rows = columns = np.concatenate([rows, columns])
    C = np.zeros((len(rows), len(columns)))
    for i, x in enumerate(rows):
        for j, y in enumerate(columns):
            cosine = x @ y
            if similarity_floor is not None:
                cosine = max(cosine, similarity_floor)
            C[i, j] = 1.0 - cosine if cost is None else cost(x, y)
    if layout == "joint":
        np.fill_diagonal(C, C.max() if self_pairs == "max_cost" else np.inf)
    if ignored is not None:
        C[np.tile(ignored, (2, 2)) if layout == "joint" else ignored] = np.inf
    return C


# --- targets (section 3.4) -----------------------------------------------------------------


def target_matrix(rule, n, m=None, layout="cross"):
    """Mass 1 from rule(i, j, side_i, side_j); in the joint layout a view against itself has 0."""
    if layout == "cross":
        T = np.array([[rule(i, j, 0, 1) for j in range(n if m is None else m)] for i in range(n)])
    else:
        T = np.zeros((2 * n, 2 * n))
        for k in range(2 * n):
            for h in range(2 * n):
                if k != h:
                    T[k, h] = rule(k % n, h % n, k // n, h // n)
    return T / T.sum()


def identity(n, m=None, layout="cross"):
    return target_matrix(lambda i, j, *_: float(i == j), n, m, layout)


def blocks(domains_a, domains_b, alpha, beta, layout="cross"):
    domains = (domains_a, domains_b)

    def rule(i, j, side_i, side_j):
        if i == j:
            return 1.0
        return alpha if domains[side_i][i] == domains[side_j][j] else beta

    return target_matrix(rule, len(domains_a), len(domains_b), layout)


def classes(labels_a, labels_b=None, layout="cross", per="pair"):
    """Pairs of one class; -1 is of none, and pairs with its own index alone."""
    labels = (labels_a, labels_a if labels_b is None else labels_b)

    def rule(i, j, side_i, side_j):
        a, b = labels[side_i][i], labels[side_j][j]
        return float(a == b != -1 or (a == b == -1 and i == j))

    T = target_matrix(rule, len(labels_a), len(labels[1]), layout)
    if per == "anchor":
        T = T / np.where(T.sum(1) > 0, T.sum(1), 1.0)[:, None]
    return T / T.sum()


def of_exponents(x, y, exponent, layout):
    """exp(exponent(x_i, y_j)) of all pairs, which all have mass, however little."""
    if layout == "joint":
        x = y = np.concatenate([x, y])
    log_w = np.array([[exponent(a, b) for b in y] for a in x])
    if layout == "joint":
        np.fill_diagonal(log_w, -np.inf)
    T = np.maximum(np.exp(log_w - log_w.max()), 1e-300 * (log_w > -np.inf))
    return T / T.sum()


def continuous(labels_a, bandwidth, labels_b=None, layout="cross"):
    """exp(-|y_i - y_j|^2 / (2 sigma^2))."""
    x, y = (
        np.reshape(np.float64(labels), (len(labels), -1))
        for labels in (labels_a, labels_a if labels_b is None else labels_b)
    )
    width = 2 * np.float64(bandwidth) ** 2
    return of_exponents(x, y, lambda a, b: -np.sum((a - b) ** 2) / width, layout)


def similar(features_a, epsilon, features_b=None, layout="cross"):
    """exp((cos - 1) / epsilon)."""
    x, y = unit(features_a), unit(features_a if features_b is None else features_b)
    return of_exponents(x, y, lambda a, b: (a @ b - 1) / np.float64(epsilon), layout)


def weighted(quality, layout="cross"):
    n = len(quality)
    return target_matrix(lambda i, j, *_: float(quality[i]) if i == j else 0.0, n, n, layout)


# --- projections (eq. 5-7; section 3.3) ----------------------------------------------------


def scalings(K, mu, nu, half_steps, tau_a=1.0, tau_b=1.0):
    """Eq. 7 from v = 1: u = (mu / K v)^tau_a, then v = (nu / K' u)^tau_b, one at a time."""
    u, v = np.ones(K.shape[0]), np.ones(K.shape[1])
    for t in range(half_steps):
        if t % 2 == 0:
            u = over(mu, K @ v) ** tau_a
        else:
            v = over(nu, K.T @ u) ** tau_b
    return u, v


def over(marginal, sums):
    """The quotient; a row that meets no mass stays empty."""
    return np.where(sums > 0, marginal / np.where(sums > 0, sums, 1.0), 0.0)


def plan(K, mu, nu, half_steps, tau_a=1.0, tau_b=1.0):
    u, v = scalings(K, mu, nu, half_steps, tau_a, tau_b)
    return u[:, None] * K * v[None, :]


def tau(penalty, epsilon):
    penalty = np.asarray(penalty, np.float64)
    return np.array([1.0 if np.isinf(p) else p / (p + epsilon) for p in penalty.ravel()]).reshape(
        penalty.shape
    )


def entropy(P):
    return -sum(p * np.log(p) for p in P.ravel() if p > 0)


# --- divergences ---------------------------------------------------------------------------


def kl(T, P):
    """sum T log(T/P) - sum T + sum P over vectors or matrices; terms with T = 0 are 0."""
    T, P = np.ravel(T), np.ravel(P)
    with np.errstate(divide="ignore"):
        terms = [t * np.log(t / p) for t, p in zip(T, P, strict=True) if t > 0]
    return sum(terms) - T.sum() + P.sum()


def marginal_kl(p, mu, penalty):
    """sum_i lambda_i (p_i log(p_i / mu_i) - p_i + mu_i); a penalty of 0 asks nothing."""
    penalty = np.broadcast_to(penalty, p.shape)
    return sum(x * kl(p[i : i + 1], mu[i : i + 1]) for i, x in enumerate(penalty) if x > 0)


def with_mass(P, mu, mass):
    if mass == "rows":
        sums = P.sum(1, keepdims=True)
        return P / np.where(sums > 0, sums, 1.0) * mu[:, None]
    return P / P.sum() if mass == "total" else P


def w_q(T, scores, normaliser, q):
    """sum_ij T_ij (-scores_ij^q / q) + sum_i (sum_j T_ij) normaliser_i^q / q."""
    value = 0.0
    for i, weight in enumerate(T.sum(1)):
        if weight > 0:
            value += np.sum(T[i] * (-(scores[i] ** q) / q)) + weight * normaliser[i] ** q / q
    return value


# --- methods -------------------------------------------------------------------------------


def setting(z_a, z_b, target, mu, nu, marginals, **kernel):
    """What every method starts from: costs, target and marginals."""
    C = cost_matrix(z_a, z_b, **kernel)
    layout = kernel.get("layout", "cross")
    T = identity(len(z_a), len(z_b), layout) if target is None else target / np.sum(target)
    n, m = C.shape
    uniform = marginals == "uniform"
    if mu is None:
        mu = np.full(n, 1 / n) if uniform else T.sum(1)
    if nu is None:
        nu = np.full(m, 1 / m) if uniform else T.sum(0)
    return C, T, np.asarray(mu, np.float64), np.asarray(nu, np.float64)


def ince(z_a, z_b, epsilon=0.5, target=None, mu=None, marginals="target", **kernel):
    """Eq. 1, each row weighted by mu_i: KL of the target from mu_i softmax_j(s_ij)."""
    C, T, mu, _ = setting(z_a, z_b, target, mu, None, marginals, **kernel)
    E = np.exp(-C / epsilon)
    return kl(T, mu[:, None] * E / E.sum(1, keepdims=True))


def ince_paper(z_a, z_b, epsilon):
    """Eq. 1 letter by letter: mean_i -log(e^s_ii / (e^s_ii + sum_{j != i} e^s_ij))."""
    s = unit(z_a) @ unit(z_b).T / epsilon
    losses = []
    for i in range(len(s)):
        others = sum(np.exp(s[i, j]) for j in range(len(s)) if j != i)
        losses.append(-np.log(np.exp(s[i, i]) / (np.exp(s[i, i]) + others)))
    return np.mean(losses)


def clip(
    z_a, z_b, epsilon=0.07, target=None, mu=None, nu=None, marginals="target", **kernel
):  # fmt: skip
    """Cross entropies of rows and of columns, as CLIP's listing has them, halved."""
    C, T, mu, nu = setting(z_a, z_b, target, mu, nu, marginals, **kernel)
    E = np.exp(-C / epsilon)
    rows, columns = E / E.sum(1, keepdims=True), E / E.sum(0, keepdims=True)
    return (kl(T, mu[:, None] * rows) + kl(T, columns * nu[None, :])) / 2


def rince(z_a, z_b, epsilon=0.5, q=0.98, lam=0.01, target=None, **kernel):
    """Eq. 2: the scores are s = cos/epsilon, lambda inside the power."""
    C, T, *_ = setting(z_a, z_b, target, None, None, "target", **kernel)
    E = np.exp((1.0 - C) / epsilon)
    return w_q(T, E, lam * E.sum(1), q)


def rince_paper(z_a, z_b, epsilon, q, lam):
    """Eq. 2 letter by letter, lambda^q in front of the sum's power."""
    s = unit(z_a) @ unit(z_b).T / epsilon
    rows = [
        (-np.exp(q * s[i, i]) + lam**q * sum(np.exp(s[i, j]) for j in range(len(s))) ** q) / q
        for i in range(len(s))
    ]
    return np.mean(rows)


def gca_ince(
    z_a, z_b, epsilon=0.5, iterations=10,
    target=None, mu=None, nu=None, marginals="target", **kernel,
):  # fmt: skip
    """Eq. 7 for T sweeps, then KL."""
    C, T, mu, nu = setting(z_a, z_b, target, mu, nu, marginals, **kernel)
    return kl(T, plan(np.exp(-C / epsilon), mu, nu, 2 * iterations))


def gca_rince(
    z_a, z_b, epsilon=0.5, iterations=10, q=0.98, lam=0.01,
    target=None, mu=None, nu=None, marginals="target", **kernel,
):  # fmt: skip
    """Eq. 13 with 1/u = Kv written out: v after T - 1 sweeps whose marginals sum to n."""
    C, T, mu, nu = setting(z_a, z_b, target, mu, nu, marginals, **kernel)
    n = len(C)
    E = np.exp((1.0 - C) / epsilon)
    _, v = scalings(E, n * mu, n * nu, 2 * (iterations - 1))
    return w_q(T, E * v, lam * (E @ v), q)


def gca_uot(
    z_a, z_b, epsilon=0.5, iterations=10, penalty_a=0.2, penalty_b=0.2, q=0.98, lam=0.01,
    w_kl=1.0, w_rince=0.02, mass="rows", penalise_marginals=False,
    target=None, mu=None, nu=None, marginals="target", **kernel,
):  # fmt: skip
    """Eq. 9 with the unbalanced scalings: w_kl KL + w_rince W_q, and the two penalties if asked."""
    C, T, mu, nu = setting(z_a, z_b, target, mu, nu, marginals, **kernel)
    K = np.exp(-C / epsilon)
    u, v = scalings(K, mu, nu, 2 * iterations, tau(penalty_a, epsilon), tau(penalty_b, epsilon))
    P, value = u[:, None] * K * v, 0.0
    with np.errstate(divide="ignore"):
        if w_kl > 0:
            value += w_kl * kl(T, with_mass(P, mu, mass))
        if w_rince > 0:
            value += w_rince * w_q(T, K * v, lam / u, q)
        if penalise_marginals:
            value += marginal_kl(P.sum(1), mu, penalty_a) + marginal_kl(P.sum(0), nu, penalty_b)
    return value


def gce_of(T, p, q):
    """Positives of a row are one event: sum_i r_i (1 - (sum of their shares)^q) / q."""
    return sum(
        row.sum() * (1 - share[row > 0].sum() ** q) / q for row, share in zip(T, p, strict=True)
    )


def gce(z_a, z_b, epsilon=0.5, q=0.7, target=None, **kernel):
    """Zhang & Sabuncu 2018, of softmax over rows and over columns; joint: over rows."""
    C, T, *_ = setting(z_a, z_b, target, None, None, "target", **kernel)
    E = np.exp(-C / epsilon)
    rows = gce_of(T, E / E.sum(1, keepdims=True), q)
    if kernel.get("layout") == "joint":
        return rows
    return (rows + gce_of(T.T, E.T / E.T.sum(1, keepdims=True), q)) / 2


def gca_gce(
    z_a, z_b, epsilon=0.5, iterations=10, q=0.7,
    target=None, mu=None, nu=None, marginals="target", **kernel,
):  # fmt: skip
    C, T, mu, nu = setting(z_a, z_b, target, mu, nu, marginals, **kernel)
    P = plan(np.exp(-C / epsilon), mu, nu, 2 * iterations)
    return gce_of(T, P / np.where(mu > 0, mu, 1.0)[:, None], q)


def rcl_of(T, E, phi):
    value = 0.0
    for row, e in zip(T, E, strict=True):
        if row.sum() > 0:
            # 1 - p_j is the share of all others: summed, as 1 - p has no digits at p = 1.
            others = np.array([np.delete(e, j).sum() / e.sum() for j in range(len(e))])
            with np.errstate(divide="ignore"):
                penalty = -np.log(others) if phi == "log" else np.tan(e / e.sum())
            counted = row < row.max()
            value += row.sum() * np.sum((1 - row / row.max())[counted] * penalty[counted])
    return value


def rcl(z_a, z_b, epsilon=0.5, phi="log", target=None, **kernel):
    """Hu et al. 2023, of softmax over rows and over columns; joint: over rows."""
    C, T, *_ = setting(z_a, z_b, target, None, None, "target", **kernel)
    E = np.exp(-C / epsilon)
    rows = rcl_of(T, E, phi)
    return rows if kernel.get("layout") == "joint" else (rows + rcl_of(T.T, E.T, phi)) / 2


def ntxent(z_a, z_b, epsilon):
    """SimCLR's NT-Xent, view by view: its other view against every view but itself."""
    z = np.concatenate([unit(z_a), unit(z_b)])
    B, losses = len(z_a), []
    for k in range(2 * B):
        scores = {h: np.exp(z[k] @ z[h] / epsilon) for h in range(2 * B) if h != k}
        losses.append(-np.log(scores[(k + B) % (2 * B)] / sum(scores.values())))
    return np.mean(losses)


def simclr(z_a, z_b, layout="joint", **hyper):
    return ince(z_a, z_b, layout=layout, **hyper)


def byol(z_a, z_b, target=None):
    """Theorem 4: the squared distance of unit vectors over the pairs of the target."""
    a, b = unit(z_a), unit(z_b)
    T = identity(len(a), len(b)) if target is None else target / np.sum(target)
    return sum(T[i, j] * np.sum((a[i] - b[j]) ** 2) for i in range(len(a)) for j in range(len(b)))


def iot(z_a, z_b, layout="joint", **hyper):
    return gca_ince(z_a, z_b, layout=layout, **hyper)


def iot_uni(z_a, z_b, lam_p=0.2, Q=None, **hyper):
    """IOT + lam_p KL(Q||P); give Q to hold it fixed, as the gradient does."""
    P, T = iot_plan(z_a, z_b, **hyper)
    Q = iot_uni_q(P, T, hyper.get("layout", "joint")) if Q is None else Q
    return kl(T, P) + lam_p * kl(Q, P)


def iot_plan(
    z_a, z_b, epsilon=0.5, iterations=10, layout="joint",
    target=None, mu=None, nu=None, marginals="target", **kernel,
):  # fmt: skip
    C, T, mu, nu = setting(z_a, z_b, target, mu, nu, marginals, layout=layout, **kernel)
    return plan(np.exp(-C / epsilon), mu, nu, 2 * iterations), T


def iot_uni_q(P, T, layout="joint"):
    """P with the mean of its negatives in place of each: neither positive, nor self-pair, nor 0."""
    negative = (T == 0) & (P > 0)
    if layout == "joint":
        negative &= ~np.eye(len(P), dtype=bool)
    Q = P.copy()
    Q[negative] = P[negative].mean() if negative.any() else 0.0
    return Q


METHODS = {
    "ince": ince,
    "gca_ince": gca_ince,
    "rince": rince,
    "gca_rince": gca_rince,
    "gca_uot": gca_uot,
    "gce": gce,
    "gca_gce": gca_gce,
    "rcl": rcl,
    "simclr": simclr,
    "clip": clip,
    "byol": byol,
    "iot": iot,
    "iot_uni": iot_uni,
}


# --- representation metrics ----------------------------------------------------------------


def alignment(z_a, z_b):
    return np.mean([np.sum((x - y) ** 2) for x, y in zip(unit(z_a), unit(z_b), strict=True)])


def uniformity(z):
    z = unit(z)
    pairs = [(i, j) for i in range(len(z)) for j in range(len(z)) if i != j]
    return np.log(np.mean([np.exp(-2 * np.sum((z[i] - z[j]) ** 2)) for i, j in pairs]))


def effective_rank(z):
    singular_values = np.linalg.svd(unit(z), compute_uv=False)
    return np.exp(entropy(singular_values / singular_values.sum()))
