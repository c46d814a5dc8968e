"""Classical machine learning: radiomic features into scikit-learn estimators, stored by skops."""
