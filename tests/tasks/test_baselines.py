"""Classical classifiers in context against the same predictors of scikit-learn."""

import numpy as np

from lopt import tasks

CLASSIFIERS = {
    "class mean": tasks.class_mean,
    "nearest neighbour": tasks.nearest_neighbour,
    "logistic regression": tasks.logistic_regression,
    "label frequency": tasks.label_frequency,
}


def contexts(rng, number=3, length=6, slots=3):
    labels = rng.integers(0, slots, (number, length), np.int32)
    return (2 * np.eye(slots)[labels] + rng.normal(size=(number, length, slots))).astype(np.float32), labels


def test_classifiers_match_scikit_learn_at_every_position():
    from sklearn import linear_model, neighbors

    xs, labels = contexts(np.random.default_rng(0), 4, 8)
    correct = {name: reference(xs, labels, 3) for name, reference in CLASSIFIERS.items()}
    regression = tasks.logistic_regression(xs, labels, 3, decay=1.0, steps=500)
    for i in range(len(xs)):
        for t in range(xs.shape[1]):
            x, y, query, target = xs[i, :t], labels[i, :t], xs[i, t], labels[i, t]
            if t == 0:
                assert all(values[i, 0] == (target == 0) for values in correct.values())
                continue
            classes = np.unique(y)
            means = np.stack([x[y == c].mean(0) for c in classes])
            nearest = classes[np.square(means - query).sum(1).argmin()]
            assert correct["class mean"][i, t] == (nearest == target)
            neighbour = neighbors.KNeighborsClassifier(1).fit(x, y).predict(query[None])[0]
            assert correct["nearest neighbour"][i, t] == (neighbour == target)
            assert correct["label frequency"][i, t] == (np.bincount(y, minlength=3).argmax() == target)
            if len(classes) == 3:
                ones = np.concatenate([x, np.ones((t, 1))], 1)
                fit = linear_model.LogisticRegression(C=1.0, fit_intercept=False, tol=1e-8).fit(ones, y)
                assert regression[i, t] == (fit.predict(np.append(query, 1)[None])[0] == target)
