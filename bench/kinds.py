"""Kinds of pipelines as people bring them, and what becomes of each."""

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import NMF, TruncatedSVD
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.feature_extraction.text import (
    CountVectorizer,
    HashingVectorizer,
    TfidfTransformer,
    TfidfVectorizer,
)
from sklearn.feature_selection import (
    SelectKBest,
    SelectPercentile,
    VarianceThreshold,
    chi2,
    f_classif,
)
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.linear_model import (
    LogisticRegression,
    LogisticRegressionCV,
    Perceptron,
    Ridge,
    RidgeClassifier,
    SGDClassifier,
)
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import BernoulliNB, ComplementNB, GaussianNB, MultinomialNB
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, MaxAbsScaler, StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier

COMPILED, GENERIC = "compiled", "scikit-learn"


def my_tokenizer(text: str) -> list[str]:
    """Split a text as a user's own function might."""
    return text.lower().split()


def words(**options: Any) -> TfidfVectorizer:
    return TfidfVectorizer(**options)


def logistic(**options: Any) -> LogisticRegression:
    return LogisticRegression(max_iter=1000, **options)


def dense(classifier: Any) -> Pipeline:
    """Put fewer, dense columns before a classifier that takes no sparse ones."""
    return make_pipeline(words(), TruncatedSVD(20, random_state=0), classifier)


Make = Callable[[], Any]
KINDS: dict[str, tuple[Make, str]] = {
    "TfidfVectorizer, LogisticRegression": (lambda: make_pipeline(words(), logistic()), COMPILED),
    "… with stop words": (
        lambda: make_pipeline(words(stop_words="english"), logistic()), COMPILED),
    "… with 1- and 2-grams, sublinear": (
        lambda: make_pipeline(words(ngram_range=(1, 2), sublinear_tf=True), logistic()), COMPILED),
    "… with balanced weights": (
        lambda: make_pipeline(words(), logistic(class_weight="balanced")), COMPILED),
    "… with 2-grams only": (lambda: make_pipeline(words(ngram_range=(2, 2)), logistic()), GENERIC),
    "… of characters": (
        lambda: make_pipeline(words(analyzer="char_wb", ngram_range=(2, 4)), logistic()), GENERIC),
    "… without accents": (
        lambda: make_pipeline(words(strip_accents="unicode"), logistic()), GENERIC),
    "… and a step passthrough": (
        lambda: Pipeline([("v", words()), ("p", "passthrough"), ("c", logistic())]), GENERIC),
    "TfidfVectorizer, LogisticRegressionCV": (
        lambda: make_pipeline(words(), LogisticRegressionCV(
            Cs=2, cv=2, max_iter=1000, use_legacy_attributes=False, l1_ratios=(0,))), GENERIC),
    "TfidfVectorizer, MultinomialNB": (lambda: make_pipeline(words(), MultinomialNB()), GENERIC),
    "CountVectorizer, MultinomialNB": (
        lambda: make_pipeline(CountVectorizer(), MultinomialNB()), GENERIC),
    "CountVectorizer, LogisticRegression": (
        lambda: make_pipeline(CountVectorizer(), logistic()), GENERIC),
    "CountVectorizer, TfidfTransformer, MultinomialNB": (
        lambda: make_pipeline(CountVectorizer(), TfidfTransformer(), MultinomialNB()), GENERIC),
    "CountVectorizer, ComplementNB": (
        lambda: make_pipeline(CountVectorizer(), ComplementNB()), GENERIC),
    "CountVectorizer (binary), BernoulliNB": (
        lambda: make_pipeline(CountVectorizer(binary=True), BernoulliNB()), GENERIC),
    "HashingVectorizer, LogisticRegression": (
        lambda: make_pipeline(HashingVectorizer(n_features=2**14), logistic()), GENERIC),
    "SGDClassifier (log_loss)": (
        lambda: make_pipeline(words(), SGDClassifier(loss="log_loss", random_state=0)), GENERIC),
    "SGDClassifier (modified_huber)": (
        lambda: make_pipeline(words(), SGDClassifier(loss="modified_huber", random_state=0)),
        GENERIC),
    "CalibratedClassifierCV of LinearSVC": (
        lambda: make_pipeline(words(), CalibratedClassifierCV(LinearSVC(), cv=3)), GENERIC),
    "… isotonic": (
        lambda: make_pipeline(
            words(), CalibratedClassifierCV(LinearSVC(), cv=3, method="isotonic")), GENERIC),
    "CalibratedClassifierCV of SVC": (
        lambda: make_pipeline(words(), CalibratedClassifierCV(SVC(), cv=3)), GENERIC),
    "OneVsRestClassifier": (
        lambda: make_pipeline(words(), OneVsRestClassifier(logistic())), GENERIC),
    "KNeighborsClassifier": (lambda: make_pipeline(words(), KNeighborsClassifier()), GENERIC),
    "KNeighborsClassifier (ball tree), dense": (
        lambda: dense(KNeighborsClassifier(algorithm="ball_tree")), GENERIC),
    "DecisionTreeClassifier": (
        lambda: make_pipeline(words(), DecisionTreeClassifier(random_state=0)), GENERIC),
    "RandomForestClassifier, 300 trees": (
        lambda: make_pipeline(
            words(), RandomForestClassifier(300, random_state=np.random.RandomState(0))), GENERIC),
    "… with n_jobs=-1": (
        lambda: make_pipeline(
            words(), RandomForestClassifier(300, random_state=0, n_jobs=-1)), GENERIC),
    "ExtraTreesClassifier, 100 trees": (
        lambda: make_pipeline(words(), ExtraTreesClassifier(random_state=0)), GENERIC),
    "BaggingClassifier": (
        lambda: make_pipeline(
            words(), BaggingClassifier(DecisionTreeClassifier(), random_state=0)), GENERIC),
    "AdaBoostClassifier": (
        lambda: make_pipeline(words(), AdaBoostClassifier(random_state=0)), GENERIC),
    "GradientBoostingClassifier": (
        lambda: make_pipeline(
            words(), GradientBoostingClassifier(n_estimators=10, random_state=0)), GENERIC),
    "HistGradientBoostingClassifier, dense": (
        lambda: dense(HistGradientBoostingClassifier(
            max_iter=10, early_stopping=True, random_state=0)), GENERIC),
    "MLPClassifier": (
        lambda: make_pipeline(
            words(), MLPClassifier((20,), max_iter=500, random_state=0)), GENERIC),
    "LinearDiscriminantAnalysis, dense": (lambda: dense(LinearDiscriminantAnalysis()), GENERIC),
    "GaussianNB, dense": (lambda: dense(GaussianNB()), GENERIC),
    "GaussianProcessClassifier, dense": (
        lambda: dense(GaussianProcessClassifier(max_iter_predict=10)), GENERIC),
    "StandardScaler, LogisticRegression, dense": (
        lambda: make_pipeline(
            words(), TruncatedSVD(20, random_state=0), StandardScaler(), logistic()), GENERIC),
    "NMF, LogisticRegression": (
        lambda: make_pipeline(words(), NMF(5, random_state=0, max_iter=500), logistic()), GENERIC),
    "SelectKBest (chi2)": (
        lambda: make_pipeline(words(), SelectKBest(chi2, k=200), logistic()), GENERIC),
    "SelectPercentile (f_classif)": (
        lambda: make_pipeline(words(), SelectPercentile(f_classif, percentile=50), logistic()),
        GENERIC),
    "VarianceThreshold, MaxAbsScaler": (
        lambda: make_pipeline(
            words(), VarianceThreshold(0.0001), MaxAbsScaler(), logistic()), GENERIC),
    "FeatureUnion of words and characters": (
        lambda: make_pipeline(
            FeatureUnion([("w", words()), ("c", words(analyzer="char"))]), logistic()), GENERIC),
    "FunctionTransformer (numpy.asarray)": (
        lambda: make_pipeline(FunctionTransformer(np.asarray), words(), logistic()), GENERIC),
    "VotingClassifier (soft)": (
        lambda: make_pipeline(
            words(),
            VotingClassifier([("a", logistic()), ("b", MultinomialNB())], voting="soft")), GENERIC),
    "StackingClassifier": (
        lambda: make_pipeline(
            words(),
            StackingClassifier([("a", logistic()), ("b", MultinomialNB())], logistic(), cv=2)),
        GENERIC),
    "VotingClassifier of pipelines": (
        lambda: VotingClassifier(
            [("a", make_pipeline(words(), logistic())),
             ("b", make_pipeline(CountVectorizer(), MultinomialNB()))], voting="soft"), GENERIC),
    "GridSearchCV": (
        lambda: GridSearchCV(
            make_pipeline(words(), logistic()), {"logisticregression__C": [0.5, 1]}, cv=2),
        COMPILED),
    "RandomizedSearchCV": (
        lambda: RandomizedSearchCV(
            make_pipeline(CountVectorizer(), MultinomialNB()),
            {"multinomialnb__alpha": [0.5, 1]}, n_iter=2, cv=2, random_state=0), GENERIC),
    "a pipeline in a pipeline": (
        lambda: make_pipeline(make_pipeline(CountVectorizer(), TfidfTransformer()), logistic()),
        GENERIC),
    "DummyClassifier": (lambda: make_pipeline(words(), DummyClassifier()), GENERIC),
    "LinearSVC": (lambda: make_pipeline(words(), LinearSVC()), "CalibratedClassifierCV"),
    "SGDClassifier (hinge)": (
        lambda: make_pipeline(words(), SGDClassifier(random_state=0)), "CalibratedClassifierCV"),
    "RidgeClassifier": (
        lambda: make_pipeline(words(), RidgeClassifier()), "CalibratedClassifierCV"),
    "Perceptron": (
        lambda: make_pipeline(words(), Perceptron(random_state=0)), "CalibratedClassifierCV"),
    "VotingClassifier (hard)": (
        lambda: make_pipeline(
            words(), VotingClassifier([("a", logistic()), ("b", MultinomialNB())])),
        "CalibratedClassifierCV"),
    "NearestCentroid, dense": (lambda: dense(NearestCentroid()), GENERIC),
    "a tokenizer of one's own": (
        lambda: make_pipeline(words(tokenizer=my_tokenizer, token_pattern=None), logistic()),
        "my_tokenizer is not allowed"),
    "CountVectorizer(input='filename')": (
        lambda: make_pipeline(CountVectorizer(input="filename"), MultinomialNB()),
        "input='content'"),
    "a table of columns": (
        lambda: make_pipeline(
            ColumnTransformer([("text", words(), "text")]), logistic()), "list of texts"),
    "no vectorizer": (lambda: MultinomialNB(), "list of texts"),
    "no classifier": (lambda: make_pipeline(words(), TruncatedSVD(5)), "no classifier"),
    "Ridge": (lambda: make_pipeline(words(), Ridge()), "regressor"),
}  # fmt: skip
"""What it is -> how to make it (not fitted), and its predictor or a part of why it is refused."""


def fit(kind: str, texts: list[str], labels: list[str]) -> Any:
    """Fit a kind on labelled texts, those that take no texts on what they take."""
    model = KINDS[kind][0]()
    if kind == "no vectorizer":
        return model.fit(CountVectorizer().fit_transform(texts), labels)
    if kind == "a table of columns":
        # A dictionary of columns is what such a pipeline gets of a data frame.
        model[0].transformers = [("text", words(), 0)]
        return model.fit(np.array(texts, dtype=object).reshape(-1, 1), labels)
    if kind == "CountVectorizer(input='filename')":
        model[0].set_params(input="content")
        return model.fit(texts, labels).set_params(countvectorizer__input="filename")
    if kind == "Ridge":
        return model.fit(texts, np.arange(len(labels), dtype=float))
    return model.fit(texts, labels)
